//! Metrics in Prometheus' form, for whoever scrapes `/metrics`; the process has no listener of its
//! own for them. What is measured is named in `catalogue` and nowhere else, and each measurement
//! is a function of `record`, whose parameters keep the number of series bounded: route patterns
//! and kinds of queues, never paths or hostnames. Before [`install`] all of it costs next to nothing.

mod catalogue;
mod record;

use std::sync::OnceLock;

use axum::Router;
use axum::routing::get;
use http::header;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

pub use catalogue::{ALL, Kind, Metric};
pub use record::*;

use crate::error::{Error, Result};

static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();

/// Starts measuring. A second call changes nothing.
pub fn install() -> Result<()> {
    if HANDLE.get().is_some() {
        return Ok(());
    }
    let mut builder = PrometheusBuilder::new();
    for metric in ALL {
        if let Kind::Histogram(buckets) = metric.kind {
            let name = Matcher::Full(metric.name.to_owned());
            builder = builder.set_buckets_for_metric(name, buckets).map_err(Error::internal)?;
        }
    }
    let handle = builder.install_recorder().map_err(Error::internal)?;
    ALL.iter().for_each(Metric::describe);
    drop(HANDLE.set(handle));
    Ok(())
}

/// Everything measured so far, in the text format that Prometheus reads.
pub fn render() -> String {
    HANDLE.get().map(PrometheusHandle::render).unwrap_or_default()
}

/// `GET /metrics`.
pub fn routes() -> Router {
    let form = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    Router::new().route("/metrics", get(async move || (form, render())))
}

/// Folds the histograms' samples into their buckets: else they would wait for a scrape, and with
/// nobody scraping they would pile up.
fn tidy() {
    if let Some(handle) = HANDLE.get() {
        handle.run_upkeep();
    }
}
