//! The exporter's thread: takes from the queue, makes batches, sends them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{
    LogExporter, Protocol, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{LogBatch, LogExporter as _, SdkLogRecord};
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::OtlpError;
use super::client::{Client, Failure};
use super::queue::{Counts, Item};
use super::records::Records;
use super::spans::Spans;
use crate::text::escape;
use crate::web::upstream::Upstream;

/// Items of one request.
const BATCH: usize = 512;

/// How long a batch is waited for to fill.
const GATHER: Duration = Duration::from_millis(200);

/// Pauses between the tries of a batch; after the last it is dropped.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// How often at most is told what was dropped.
const TELL: Duration = Duration::from_secs(60);

/// How long is tried at the end.
const LAST: Duration = Duration::from_secs(3);

/// The thread's own.
pub(super) struct Worker {
    url: String,
    queue: Receiver<Item>,
    counts: Arc<Counts>,
    client: Client,
    log_exporter: LogExporter,
    span_exporter: SpanExporter,
    scope: InstrumentationScope,
    records: Records,
    spans: Spans,
    logs: Vec<SdkLogRecord>,
    ended: Vec<SpanData>,
    /// It was said that the collector does not take what it is sent.
    warned: bool,
    /// When, and how many, records were said to be dropped.
    told: (Instant, u64),
}

impl Worker {
    pub(super) fn new(
        upstream: Upstream,
        url: &str,
        instance: &str,
        queue: Receiver<Item>,
        counts: Arc<Counts>,
    ) -> Result<Self, OtlpError> {
        let client = Client::new(upstream);
        let endpoint = |signal: &str| format!("{}/v1/{signal}", url.trim_end_matches('/'));
        // Code goes before the environment, of which the headers are left.
        let mut log_exporter = LogExporter::builder()
            .with_http()
            .with_http_client(client.clone())
            .with_endpoint(endpoint("logs"))
            .with_protocol(Protocol::HttpBinary)
            .with_retry_policy(RetryPolicy::disabled())
            .build()?;
        let mut span_exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client.clone())
            .with_endpoint(endpoint("traces"))
            .with_protocol(Protocol::HttpBinary)
            .with_retry_policy(RetryPolicy::disabled())
            .build()?;
        let resource = Resource::builder()
            .with_service_name("authz")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("service.instance.id", instance.to_owned()))
            .build();
        log_exporter.set_resource(&resource);
        span_exporter.set_resource(&resource);
        let scope = InstrumentationScope::builder("authz").with_version(env!("CARGO_PKG_VERSION")).build();
        Ok(Self {
            url: escape(url).into_owned(),
            queue,
            counts,
            client,
            log_exporter,
            span_exporter,
            scope,
            records: Records::new(),
            spans: Spans::default(),
            logs: Vec::new(),
            ended: Vec::new(),
            warned: false,
            told: (Instant::now(), 0),
        })
    }

    /// Exports until it is stopped; then, for a while, what is queued.
    pub(super) async fn run(mut self, stop: oneshot::Receiver<()>) {
        tokio::select! {
            () = self.export() => {}
            _ = stop => {}
        }
        // A batch on its way may arrive twice: better than not at all.
        let rest = timeout(LAST, async {
            while self.take() {
                self.deliver().await.map_err(|failure| failure.why)?;
            }
            Ok::<(), String>(())
        });
        let why = match rest.await {
            Ok(Ok(())) => String::new(),
            Ok(Err(why)) => format!(": {why}"),
            Err(_) => format!(": nothing came within {} s", LAST.as_secs()),
        };
        let left = self.logs.len() + self.ended.len() + self.queue.len();
        self.counts.add_dropped(left);
        let dropped = self.counts.dropped();
        if dropped > 0 {
            eprintln!("authz: {dropped} records did not reach the collector {}{}", self.url, escape(&why));
        }
    }

    async fn export(&mut self) {
        // An item that was taken is in the batch before anything is awaited.
        while let Some(item) = self.queue.recv().await {
            self.add(item);
            sleep(GATHER).await;
            while self.take() {
                self.deliver_or_drop().await;
                self.tell_dropped();
            }
        }
        std::future::pending().await
    }

    /// Fills the batch; whether it has something.
    fn take(&mut self) -> bool {
        while self.logs.len() + self.ended.len() < BATCH {
            let Ok(item) = self.queue.try_recv() else { break };
            self.add(item);
        }
        !self.logs.is_empty() || !self.ended.is_empty()
    }

    fn add(&mut self, item: Item) {
        match item {
            Item::Entry(entry, tool) => {
                self.logs.push(self.records.of(&entry));
                self.ended.extend(self.spans.see(&entry, tool.as_ref()));
            }
            Item::Checkpoint(note) => self.logs.push(self.records.of_checkpoint(note)),
        }
    }

    async fn deliver_or_drop(&mut self) {
        let mut pauses = PAUSES.iter();
        while let Err(failure) = self.deliver().await {
            if !self.warned {
                self.warned = true;
                let why = escape(&failure.why).into_owned();
                tracing::warn!(
                    collector = self.url,
                    why,
                    "records do not reach the collector; decisions go on"
                );
            }
            match pauses.next().filter(|_| failure.passing) {
                Some(pause) => sleep(*pause).await,
                None => {
                    self.counts.add_dropped(self.logs.len() + self.ended.len());
                    self.logs.clear();
                    self.ended.clear();
                    return;
                }
            }
        }
        self.warned = false;
    }

    /// Says how many records were dropped, now and then.
    fn tell_dropped(&mut self) {
        let dropped = self.counts.dropped();
        if dropped > self.told.1 && self.told.0.elapsed() >= TELL {
            self.told = (Instant::now(), dropped);
            tracing::warn!(collector = self.url, dropped, "records did not reach the collector");
        }
    }

    /// Sends the batch once.
    async fn deliver(&mut self) -> Result<(), Failure> {
        if !self.logs.is_empty() {
            let batch: Vec<_> = self.logs.iter().map(|record| (record, &self.scope)).collect();
            let done = self.log_exporter.export(LogBatch::new(&batch)).await;
            self.check(done)?;
            self.counts.add_sent(self.logs.len());
            self.logs.clear();
        }
        if !self.ended.is_empty() {
            let done = self.span_exporter.export(self.ended.clone()).await;
            self.check(done)?;
            self.counts.add_sent(self.ended.len());
            self.ended.clear();
        }
        Ok(())
    }

    fn check(&self, done: opentelemetry_sdk::error::OTelSdkResult) -> Result<(), Failure> {
        let unknown = |error: opentelemetry_sdk::error::OTelSdkError| Failure {
            why: error.to_string(),
            passing: false,
        };
        done.map_err(|error| self.client.take_failure().unwrap_or_else(|| unknown(error)))
    }
}
