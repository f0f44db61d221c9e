//! Entries as log records.

use std::time::{Duration, SystemTime};

use opentelemetry::logs::{AnyValue, LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry::{SpanId, TraceFlags, TraceId};
use opentelemetry_sdk::logs::{SdkLogRecord, SdkLogger, SdkLoggerProvider};

use super::attributes;
use crate::event::Mode;
use crate::ledger::{DecidedBy, Effect, Entry, Kind, Time};
use crate::text::escape;

/// Makes log records.
pub(super) struct Records {
    /// The only maker of records that the SDK has.
    logger: SdkLogger,
}

impl Records {
    pub(super) fn new() -> Self {
        Self { logger: SdkLoggerProvider::builder().build().logger("authz") }
    }

    /// An entry.
    pub(super) fn of(&self, entry: &Entry) -> SdkLogRecord {
        let mut record = self.record(event_name(entry.kind), severity(entry), summary(entry));
        record.set_timestamp(at(entry.time));
        if let Some((trace, span)) = entry.trace_id.zip(entry.span_id) {
            let (trace, span) = (TraceId::from_bytes(trace.0), SpanId::from_bytes(span.0));
            record.set_trace_context(trace, span, Some(TraceFlags::SAMPLED));
        }
        record.add_attributes(attributes::of(entry));
        record
    }

    /// A signed checkpoint, whole: who has it can tell whether the ledger was changed later.
    pub(super) fn of_checkpoint(&self, note: String) -> SdkLogRecord {
        let mut record = self.record("authz.checkpoint", Severity::Info, note);
        record.set_timestamp(SystemTime::now());
        record
    }

    fn record(&self, name: &'static str, severity: Severity, body: String) -> SdkLogRecord {
        let mut record = self.logger.create_log_record();
        record.set_event_name(name);
        record.set_severity_number(severity);
        record.set_severity_text(severity.name());
        record.set_observed_timestamp(SystemTime::now());
        record.set_body(AnyValue::from(body));
        record
    }
}

/// The time of an entry.
pub(super) fn at(time: Time) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(time.0)
}

fn event_name(kind: Kind) -> &'static str {
    match kind {
        Kind::SessionStart => "authz.session_start",
        Kind::Decision => "authz.decision",
        Kind::Answer => "authz.answer",
        Kind::Remembered => "authz.remembered",
        Kind::Gap => "authz.gap",
        Kind::Finding => "authz.finding",
        Kind::CallClosed => "authz.call_closed",
        Kind::Elicited => "authz.elicited",
        Kind::PolicyChanged => "authz.policy_changed",
        Kind::ModeChanged => "authz.mode_changed",
        Kind::SessionEnd => "authz.session_end",
    }
}

/// What a human should see first: what was refused, what is missing, what contradicts.
fn severity(entry: &Entry) -> Severity {
    let effect = entry.decision.as_ref().map(|decision| decision.effect);
    match entry.kind {
        Kind::Gap => Severity::Error,
        _ if entry.decided_by == Some(DecidedBy::Failsafe) => Severity::Error,
        Kind::Finding => Severity::Warn,
        _ if effect == Some(Effect::Deny) => Severity::Warn,
        _ => Severity::Info,
    }
}

/// One line: what, of what, by which rule.
fn summary(entry: &Entry) -> String {
    let mut words = Vec::new();
    match &entry.decision {
        Some(decision) => {
            words.push(decision.effect.to_string());
            if entry.mode == Some(Mode::Observe) {
                words.push("(observed)".into());
            }
        }
        None => words.push(entry.kind.as_str().replace('_', " ")),
    }
    words.extend(entry.action.as_ref().map(|action| action.as_str().to_owned()));
    words.extend(entry.resource.as_ref().map(|resource| resource.id.clone()));
    if let Some(rule) = entry.decision.as_ref().and_then(|decision| decision.rules.first()) {
        words.push(format!("[{}]", rule.id));
    }
    words.extend(entry.causes.iter().cloned());
    escape(&words.join(" ")).into_owned()
}
