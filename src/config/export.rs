//! Settings of exporters.

use super::keys::settings;
use crate::Sample;
use crate::export::{Naming, Prometheus};
use crate::measured::Measured;
use crate::stream::Latest;

settings! {
    /// The settings of [`Prometheus`].
    #[derive(Default)]
    pub struct PrometheusConfig {
        required {}
        optional {
            /// The naming scheme: [`Prometheus::naming`].
            naming: Option<Naming>,
            /// Whether rates are exported too: [`Prometheus::rates`].
            rates: Option<bool>,
            /// The largest number of subjects with series of their own: [`Prometheus::max_subjects`].
            max_subjects: Option<usize>,
        }
    }
}

impl PrometheusConfig {
    /// Returns a collector for this handle. What is not set has the default of [`Prometheus`].
    #[must_use]
    pub fn build<T: Sample + Measured>(&self, latest: Latest<T>) -> Prometheus<T> {
        let Self { naming, rates, max_subjects } = self;
        let mut collector = Prometheus::new(latest);
        if let Some(naming) = naming {
            collector = collector.naming(*naming);
        }
        if let Some(rates) = rates {
            collector = collector.rates(*rates);
        }
        if let Some(most) = max_subjects {
            collector = collector.max_subjects(*most);
        }
        collector
    }
}
