//! What the ledger records, sent to an OpenTelemetry collector by OTLP over HTTP: each entry as a log record, and
//! each tool call and session as a span, under the ids that the ledger has.
//!
//! ```text
//! ledger -- appended, signed --> [queue, bounded] --> thread: records, spans --> POST /v1/logs, /v1/traces
//!                                      | full: counted
//! ```
//!
//! Nothing waits for it: what does not fit into the queue is dropped and counted, and so is what the collector does
//! not take. It sees what is stored, after redaction, without inputs and arguments. The ledger is the evidence; what a
//! collector has may lack records, or have one twice (`authz.seq` tells), and is signed by nobody but in
//! `authz.checkpoint` records, which are the ledger's own signed checkpoints.

mod attributes;
mod client;
mod queue;
mod records;
mod spans;
mod thread;

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::ledger::Observer;
use crate::web::upstream::{Upstream, UpstreamError};
use queue::Tap;
use thread::Worker;

pub use queue::Counts;

/// Where the standard says that the collector's address is.
pub const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Why nothing can be exported.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// No address to send to.
    #[error("the collector {url}: {error}")]
    Address {
        /// What was given.
        url: String,
        /// What is wrong with it.
        error: UpstreamError,
    },
    /// The exporters cannot be set up.
    #[error("OTLP: {0}; look at the OTEL_EXPORTER_OTLP_ variables")]
    Setup(#[from] opentelemetry_otlp::ExporterBuildError),
    /// No thread or runtime.
    #[error("OTLP: cannot start the exporter: {0}")]
    Thread(#[from] std::io::Error),
}

/// Exports until it is finished.
pub struct Exporter {
    tap: Arc<Tap>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// Whether an address can be one of a collector.
pub fn check(url: &str) -> Result<(), OtlpError> {
    upstream(url).map(drop)
}

fn upstream(url: &str) -> Result<Upstream, OtlpError> {
    Upstream::new(url).map_err(|error| OtlpError::Address { url: url.to_owned(), error })
}

impl Exporter {
    /// Begins to export to the collector at `url`, to whose path `/v1/logs` and `/v1/traces` are added. `instance`
    /// names this daemon there.
    pub fn start(url: &str, instance: &str) -> Result<Self, OtlpError> {
        let (tap, queue) = Tap::new();
        let (stop, stopped) = oneshot::channel();
        let worker = Worker::new(upstream(url)?, url, instance, queue, tap.counts.clone())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let thread = std::thread::Builder::new()
            .name("authz-otlp".into())
            .spawn(move || runtime.block_on(worker.run(stopped)))?;
        Ok(Self { tap: Arc::new(tap), stop, thread })
    }

    /// What the ledger tells.
    pub fn observer(&self) -> Arc<dyn Observer> {
        self.tap.clone()
    }

    /// What became of the records so far.
    pub fn counts(&self) -> &Counts {
        &self.tap.counts
    }

    /// Sends what is queued, for three seconds at most, and ends.
    pub fn finish(self) {
        // Either way the thread ends.
        self.stop.send(()).ok();
        if self.thread.join().is_err() {
            tracing::error!("the exporter of OTLP failed");
        }
    }
}
