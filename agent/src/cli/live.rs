//! The live session that is meant, and where its daemon listens.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use uuid::Uuid;

use crate::control::{self, Client, Request, Response};

/// How long a daemon may take to respond.
const PATIENCE: Duration = Duration::from_secs(60);

/// So many characters of an id mean one session.
const MEANT: usize = 4;

/// The session of an id, or of the beginning of one; without any the only one that is live.
pub fn find(wanted: Option<&str>) -> anyhow::Result<(Uuid, PathBuf)> {
    let mut found = Vec::new();
    for socket in control::sockets() {
        let sessions =
            Client::within(&socket, PATIENCE).and_then(|mut client| client.ask(&Request::Sessions));
        if let Ok(Response::Sessions { sessions }) = sessions {
            found.extend(sessions.iter().map(|view| (view.session, socket.clone())));
        }
    }
    choose(found, wanted)
}

fn choose(mut found: Vec<(Uuid, PathBuf)>, wanted: Option<&str>) -> anyhow::Result<(Uuid, PathBuf)> {
    found.retain(|(session, _)| wanted.is_none_or(|wanted| is_meant(*session, wanted)));
    match (found.pop(), wanted) {
        (Some(one), _) if found.is_empty() => Ok(one),
        (Some(_), Some(wanted)) => bail!("several sessions begin with {wanted}; give more of the id"),
        (Some(_), None) => bail!("several sessions are live; name one of authz sessions with --session"),
        (None, Some(wanted)) => bail!("no session {wanted} of yours is live; see authz sessions"),
        (None, None) => bail!("no session is live that you may control"),
    }
}

fn is_meant(session: Uuid, text: &str) -> bool {
    text.len() >= MEANT && session.to_string().starts_with(&text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_meant_by_the_beginning_of_its_id() {
        let id = |text: &str| text.parse::<Uuid>().unwrap();
        let (a, b) = ("0193b1f2-6a54-7cc1-8d2e-1f6b0c0e4a11", "0193b1f2-7000-7cc1-8d2e-1f6b0c0e4a11");
        let live = || vec![(id(a), PathBuf::from("/a")), (id(b), PathBuf::from("/b"))];
        let chosen = |wanted: Option<&str>| choose(live(), wanted).map(|(session, _)| session);
        assert_eq!(chosen(Some(a)).unwrap(), id(a));
        assert_eq!(chosen(Some("0193B1F2-7")).unwrap(), id(b));
        for (wanted, said) in [
            (Some("0193"), "several sessions begin with 0193"),
            (Some("019"), "no session 019"),
            (Some("4a11"), "no session 4a11"),
            (None, "several sessions are live"),
        ] {
            assert!(chosen(wanted).unwrap_err().to_string().starts_with(said));
        }
        assert!(choose(Vec::new(), None).is_err());
        assert_eq!(choose(live().split_off(1), None).unwrap().1, PathBuf::from("/b"));
    }
}
