//! `authz doctor`: what this machine can enforce, and the one line that fixes each gap.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::json;

use super::show::{Painter, Tone, escape, unless_closed};
use crate::enforce::choice::{Choice, NoBackend, Wanted};
use crate::enforce::level::{Backend, Enforcement, Level};
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
    let report = Report::of(&Probe::run());
    let text = if args.json {
        format!("{}\n", serde_json::to_string_pretty(&report.json())?)
    } else {
        report.render(Painter::stdout())
    };
    let mut out = io::stdout().lock();
    unless_closed(out.write_all(text.as_bytes()).and_then(|()| out.flush()))?;
    Ok(ExitCode::from(u8::from(report.chosen().below(Level::Full).next().is_some())))
}

/// What was found, and what follows from it.
struct Report {
    checks: Vec<Check>,
    /// What `--backend auto` picks, or why nothing.
    auto: Result<Choice, NoBackend>,
    lsm: Enforcement,
    seccomp: Enforcement,
    none: Enforcement,
}

impl Report {
    fn of(probe: &Probe) -> Self {
        Self {
            checks: probe.checks(),
            auto: probe.choose(Wanted::Auto),
            lsm: probe.by(Backend::BpfLsm),
            seccomp: probe.by(Backend::Seccomp),
            none: probe.by(Backend::None),
        }
    }

    /// What a session gets here.
    fn chosen(&self) -> &Enforcement {
        match self.auto.as_ref().map(|choice| choice.backend) {
            Ok(Backend::BpfLsm) => &self.lsm,
            Ok(Backend::Seccomp) => &self.seccomp,
            Ok(Backend::None) | Err(_) => &self.none,
        }
    }

    fn json(&self) -> serde_json::Value {
        let auto = match &self.auto {
            Ok(choice) => json!(choice),
            Err(error) => json!({ "backend": Backend::None, "why": error.to_string() }),
        };
        json!({
            "auto": auto,
            "bpf_lsm": self.lsm.backend == Backend::BpfLsm,
            "seccomp": self.seccomp.backend == Backend::Seccomp,
            "checks": self.checks,
            "enforcement": self.chosen(),
            "backends": { "bpf-lsm": self.lsm, "seccomp": self.seccomp },
        })
    }

    fn render(&self, painter: Painter) -> String {
        let mut text = String::new();
        for check in &self.checks {
            let (word, tone) = if check.ok { ("ok  ", Tone::Good) } else { ("gap ", Tone::Bad) };
            text += &format!("{} {:<16} {}\n", painter.paint(tone, word), check.name, escape(&check.found));
            if let Some(fix) = &check.fix {
                text += &format!("{:<21} fix: {}\n", "", escape(fix));
            }
        }
        for (name, enforcement) in [(Backend::BpfLsm, &self.lsm), (Backend::Seccomp, &self.seccomp)] {
            text += &format!("\nwith {name}:\n{}", levels(enforcement, painter));
        }
        let auto = match &self.auto {
            Ok(choice) => format!("--backend auto picks {choice}"),
            Err(error) => error.to_string(),
        };
        text + "\n" + &escape(&auto) + "\n"
    }
}

/// A line an action; one line, where nothing is enforced for one reason.
fn levels(enforcement: &Enforcement, painter: Painter) -> String {
    let mut text = String::new();
    if enforcement.backend == Backend::None {
        let why = enforcement.actions.iter().find_map(|item| item.missing.first()).map_or("", |why| why);
        return format!("{} every action, {}\n", painter.paint(Tone::Bad, "none    "), escape(why));
    }
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
        let lsm = Enforcement::by_hooks(|_| true, |hook| !matches!(hook, "path_rmdir" | "file_open"));
        let report = Report {
            checks: checks.into(),
            auto: Ok(Choice { backend: Backend::BpfLsm, why: String::new() }),
            lsm,
            seccomp: Enforcement::nothing("busy"),
            none: Enforcement::nothing("no"),
        };
        let text = report.render(Painter::plain());
        assert!(
            text.starts_with("ok   kernel           6.1\\u{1b}[2J\ngap  lsm list         yama\n"),
            "{text}"
        );
        assert!(text.contains("\n                      fix: add bpf\n"), "{text}");
        assert!(text.contains("\npartial  file.delete       not rmdir (hook path_rmdir)\n"), "{text}");
        assert!(text.contains("\nnone     file.read         open (hook file_open)\n"), "{text}");
        assert!(text.contains("\nfull     tool.call\n"), "{text}");
        assert!(text.contains("\nwith seccomp:\nnone     every action, busy\n"), "{text}");
        assert!(text.ends_with("\n--backend auto picks bpf-lsm\n"), "{text}");
        let json = report.json();
        assert_eq!((&json["bpf_lsm"], &json["seccomp"]), (&json!(true), &json!(false)));
        assert_eq!(json["auto"], json!({"backend": "bpf-lsm", "why": ""}));
        assert_eq!(json["enforcement"], json["backends"]["bpf-lsm"]);
    }

    #[test]
    fn this_machine_has_a_report_whoever_asks() {
        let report = Report::of(&Probe::run());
        assert!(report.render(Painter::plain()).contains("\nwith seccomp:\n"));
        assert!(report.json()["auto"]["backend"].is_string());
    }
}
