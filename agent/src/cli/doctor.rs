//! `authz doctor`: what this machine can enforce, and the one line that fixes each gap.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::json;

use super::show::{Painter, Tone, escape, unless_closed};
use crate::enforce::level::{Enforcement, Level};
use crate::enforce::probe::{Check, Probe};

/// Arguments of `authz doctor`.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct DoctorArgs {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Runs `authz doctor`. The exit status is 0 if every action can be enforced in full, else 1.
pub fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let probe = Probe::run();
    let (checks, enforcement) = (probe.checks(), probe.enforcement());
    let text = if args.json {
        let value = json!({ "bpf_lsm": probe.bpf_lsm(), "checks": checks, "enforcement": enforcement });
        format!("{}\n", serde_json::to_string_pretty(&value)?)
    } else {
        render(&checks, &enforcement, Painter::stdout())
    };
    let mut out = io::stdout().lock();
    unless_closed(out.write_all(text.as_bytes()).and_then(|()| out.flush()))?;
    Ok(ExitCode::from(u8::from(enforcement.below(Level::Full).next().is_some())))
}

fn render(checks: &[Check], enforcement: &Enforcement, painter: Painter) -> String {
    let mut text = String::new();
    for check in checks {
        let (word, tone) = if check.ok { ("ok  ", Tone::Good) } else { ("gap ", Tone::Bad) };
        text += &format!("{} {:<16} {}\n", painter.paint(tone, word), check.name, escape(&check.found));
        if let Some(fix) = &check.fix {
            text += &format!("{:<21} fix: {}\n", "", escape(fix));
        }
    }
    text += "\nwith LSM programs:\n";
    for item in &enforcement.actions {
        let (word, tone) = match item.level {
            Level::Full => ("full    ", Tone::Good),
            Level::Partial => ("partial ", Tone::Care),
            Level::None => ("none    ", Tone::Bad),
        };
        let missing = escape(&item.missing.join(", ")).into_owned();
        let missing = if missing.is_empty() { missing } else { format!(" not {missing}") };
        let reason = if item.level == Level::None { missing.replacen(" not ", " ", 1) } else { missing };
        text += &format!("{} {}{reason}\n", painter.paint(tone, word), padded(item.action.as_str(), &reason));
    }
    text
}

fn padded(name: &str, next: &str) -> String {
    if next.is_empty() { name.to_owned() } else { format!("{name:<17}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_come_with_their_fix() {
        let checks = [
            Check { name: "kernel", ok: true, found: "6.1\u{1b}[2J".into(), fix: None },
            Check { name: "lsm list", ok: false, found: "yama".into(), fix: Some("add bpf".into()) },
        ];
        let enforcement = Enforcement::by_hooks(|_| true, |hook| !matches!(hook, "path_rmdir" | "file_open"));
        let text = render(&checks, &enforcement, Painter::plain());
        assert!(
            text.starts_with("ok   kernel           6.1\\u{1b}[2J\ngap  lsm list         yama\n"),
            "{text}"
        );
        assert!(text.contains("\n                      fix: add bpf\n"), "{text}");
        assert!(text.contains("\npartial  file.delete       not rmdir (hook path_rmdir)\n"), "{text}");
        assert!(text.contains("\nnone     file.read         open (hook file_open)\n"), "{text}");
        assert!(text.contains("\nfull     tool.call\n"), "{text}");
    }
}
