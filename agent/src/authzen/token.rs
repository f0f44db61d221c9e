//! The secret that who asks over loopback has to know: any process of the machine can connect there.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The shortest token: 128 bits in hexadecimal.
const LENGTH_MIN: usize = 32;

/// The longest file.
const LENGTH_MAX: u64 = 4096;

/// A bearer token.
#[derive(Clone)]
pub struct Token(Vec<u8>);

/// Why a file holds no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("{}: {source}; make a token with: (umask 077; openssl rand -hex 32 > FILE)", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Others could know it.
    #[error("{}: others can read or change it; chmod 600, and let it belong to who runs authz", .0.display())]
    Open(PathBuf),
    /// It can be guessed.
    #[error("{}: not {LENGTH_MIN} or more printable characters; openssl rand -hex 32 makes some", .0.display())]
    Weak(PathBuf),
}

impl Token {
    /// Reads a file that is only this user's.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let unreadable = |source| TokenError::Unreadable { path: path.to_owned(), source };
        let mut options = File::options();
        options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let file = options.open(path).map_err(unreadable)?;
        let found = file.metadata().map_err(unreadable)?;
        let own = [0, nix::unistd::geteuid().as_raw()].contains(&found.uid());
        if !found.is_file() || !own || found.mode() & 0o077 != 0 {
            return Err(TokenError::Open(path.to_owned()));
        }
        let mut text = Vec::new();
        file.take(LENGTH_MAX + 1).read_to_end(&mut text).map_err(unreadable)?;
        let token = text.trim_ascii();
        let fine = token.len() >= LENGTH_MIN
            && token.len() as u64 <= LENGTH_MAX
            && token.iter().all(u8::is_ascii_graphic);
        if fine { Ok(Self(token.to_owned())) } else { Err(TokenError::Weak(path.to_owned())) }
    }

    /// Whether an `Authorization` header has it. How much of it is right does not show in the time that takes.
    pub fn is_in(&self, header: &[u8]) -> bool {
        let (scheme, given) = header.split_at(header.len().min("Bearer ".len()));
        let differences = given
            .iter()
            .zip(&self.0)
            .fold(given.len() ^ self.0.len(), |sum, (a, b)| sum | usize::from(a ^ b));
        scheme.eq_ignore_ascii_case(b"Bearer ") && std::hint::black_box(differences) == 0
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_a_private_file_with_enough_in_it_is_a_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let read = |text: &str, mode| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            Token::read(&path)
        };
        let secret = "0123456789abcdef0123456789abcdef";
        let token = read(&format!("{secret}\n"), 0o600).unwrap();
        assert!(token.is_in(format!("Bearer {secret}").as_bytes()));
        assert!(token.is_in(format!("bearer {secret}").as_bytes()));
        for wrong in
            ["", "Bearer ", "Bearer x", secret, &format!("Basic  {secret}"), &format!("Bearer {secret}x")]
        {
            assert!(!token.is_in(wrong.as_bytes()), "{wrong}");
        }
        assert!(!token.is_in(format!("Bearer {}", &secret[1..]).as_bytes()));
        assert!(matches!(read(secret, 0o640), Err(TokenError::Open(_))));
        assert!(matches!(read("short", 0o600), Err(TokenError::Weak(_))));
        assert!(matches!(read(&secret.replace('4', " "), 0o600), Err(TokenError::Weak(_))));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(Token::read(&link), Err(TokenError::Unreadable { .. })));
    }
}
