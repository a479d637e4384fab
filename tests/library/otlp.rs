//! OTLP as a codec: the metrics of samples, their starts, and requests in parts and pieces.

use std::time::Duration;

use appmon::forward::{Codec, Encoder, Form, Forwarder, Host, Message, Outcome, Publish};
use appmon::stream::{GroupKey, GroupSample};
use appmon::time::Monotonic;
use appmon::{ForwardExt, ProcessSample, Rated, Sample, Snapshot, Timestamp};
use common::brokers::{Reading, snapshot};
use common::full::full_sample;
use futures::executor::block_on;
use futures::stream;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint};
use proptest::prelude::*;
use prost::Message as _;

fn encoder() -> Encoder {
    Encoder::new(Host::new("web-17").unwrap()).codec(Codec::Otlp)
}

/// With the wall clock at 1,000 s when the machine started, and a little more.
fn ticked<T>(samples: Vec<T>, at: Monotonic, more_ns: u64) -> Snapshot<T> {
    let mut snapshot: Snapshot<T> = samples.into_iter().collect();
    snapshot.at = at;
    snapshot.time = Timestamp::from_unix_nanos(1_000_000_000_000 + at.as_nanos() + more_ns);
    snapshot
}

fn processes(count: u32, more_ns: u64) -> Snapshot<ProcessSample> {
    let mut process: ProcessSample = full_sample();
    process.at = process.at.max(Monotonic::from_nanos(2_000_000_000_000));
    let at = process.at.plus(Duration::from_millis(3));
    let of = |pid| {
        let mut process = process.clone();
        process.id.pid = pid;
        process
    };
    ticked((1..=count).map(of).collect(), at, more_ns)
}

fn metrics(message: &Message) -> Vec<Metric> {
    assert_eq!((message.codec, message.form), (Codec::Otlp, Form::Snapshot));
    let request = ExportMetricsServiceRequest::decode(&*message.payload).unwrap();
    let resources = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
    resources.flat_map(|scope| scope.metrics).collect()
}

/// Name, whether it is a sum and a monotonic one, and the points.
fn data(metric: Metric) -> (String, Option<bool>, Vec<NumberDataPoint>) {
    match metric.data.unwrap() {
        Data::Sum(sum) => (metric.name, Some(sum.is_monotonic), sum.data_points),
        Data::Gauge(gauge) => (metric.name, None, gauge.data_points),
        other => panic!("{other:?}"),
    }
}

fn points(messages: &[Message]) -> Vec<(String, Option<bool>, NumberDataPoint)> {
    let all = messages.iter().flat_map(metrics).map(data);
    all.flat_map(|(name, sum, points)| points.into_iter().map(move |point| (name.clone(), sum, point))).collect()
}

#[test]
fn a_process_as_the_conventions_name_it() {
    let mut snapshot = processes(1, 0);
    let process = &mut snapshot.samples[0];
    (process.cpu.user_ns, process.memory.rss_bytes) = (1_250_000_000, 4096);
    let (at, start) = (process.at.as_nanos(), process.id.start_ticks * 10_000_000);
    let messages = encoder().encode(&snapshot).messages;
    let [message] = &messages[..] else { panic!("{}", messages.len()) };
    assert_eq!(message.event_type(), "appmon.process.snapshot");
    assert_eq!(message.attributes()[5].1, "application/x-protobuf");
    let all = points(&messages);
    assert_eq!(message.samples as usize, all.len());
    let find = |name: &str| all.iter().filter(|(other, ..)| other == name).collect::<Vec<_>>();
    let [(_, sum, user), _, (_, _, wait)] = &find("process.cpu.time")[..] else { panic!("{all:?}") };
    assert_eq!((sum, &user.value), (&Some(true), &Some(Value::AsDouble(1.25))));
    assert_eq!((user.time_unix_nano, user.start_time_unix_nano), (1_000_000_000_000 + at, 1_000_000_000_000 + start));
    let attributes = format!("{:?} {:?}", user.attributes, wait.attributes);
    for name in ["process.pid", "process.executable.name", "cpu.mode", "\"user\"", "\"wait\""] {
        assert!(attributes.contains(name), "{attributes}");
    }
    let [(_, sum, memory)] = &find("process.memory.usage")[..] else { panic!("{all:?}") };
    assert_eq!((sum, &memory.value, memory.start_time_unix_nano), (&Some(false), &Some(Value::AsInt(4096)), 0));
    let [(_, None, nice)] = &find("process.nice")[..] else { panic!("{all:?}") };
    assert_eq!(nice.value, Some(Value::AsInt(-5)));
    assert!(Rated::<ProcessSample>::metrics().unwrap().fields().all(|field| !field.path().starts_with("rates")));
}

/// Another start is a reset to receivers: then all a process ever used is growth.
#[test]
fn a_restart_of_the_agent_moves_no_start() {
    let starts = |encoder: &mut Encoder, more_ns| {
        let messages = encoder.encode(&processes(3, more_ns)).messages;
        points(&messages).into_iter().map(|(.., point)| point.start_time_unix_nano).collect::<Vec<_>>()
    };
    let mut agent = encoder();
    let first = starts(&mut agent, 0);
    assert!(first.iter().any(|start| *start > 0));
    // The clocks are not read at the same instant.
    assert_eq!(starts(&mut agent, 40_000), first);
    assert_eq!(starts(&mut encoder(), 900), first, "another agent");
    assert_eq!(starts(&mut agent, 5_000_000_000), first, "the clock was set by a little");
    let day = 86_400_000_000_000;
    let moved: Vec<u64> = first.iter().map(|start| if *start > 0 { start + day } else { 0 }).collect();
    assert_eq!(starts(&mut agent, day), moved, "it was wrong before");
}

#[test]
fn a_group_counts_since_it_is_there() {
    let mut group = GroupSample::new(GroupKey::Key("nginx".to_owned()), Monotonic::from_nanos(5_000_000_000));
    (group.by, group.cpu.user_ns) = (Some("service".into()), 7);
    group.at = Monotonic::from_nanos(8_000_000_000);
    let snapshot = ticked(vec![group], Monotonic::from_nanos(8_000_000_000), 0);
    let all = points(&encoder().encode(&snapshot).messages);
    let (_, sum, point) = all.iter().find(|(name, ..)| name == "process.group.cpu.time").unwrap();
    assert_eq!((sum, point.start_time_unix_nano), (&Some(true), 1_005_000_000_000));
    assert_eq!(point.attributes[0].key, "service");
}

#[test]
fn what_has_no_metrics_is_a_log() {
    let messages = encoder().encode(&snapshot(0, 2)).messages;
    assert_eq!((messages.len(), messages[0].form, messages[0].samples), (1, Form::Samples, 2));
    let request = ExportLogsServiceRequest::decode(&*messages[0].payload).unwrap();
    assert_eq!(request.resource_logs[0].scope_logs[0].log_records[1].event_name, "appmon.reading");
    assert!(encoder().encode(&snapshot(0, 0)).messages.is_empty());
    let many = encoder().max_bytes(4096).encode(&snapshot(0, 100)).messages;
    assert!(many.iter().all(|message| message.payload.len() <= 4096));
    assert_eq!(many.iter().map(|message| message.samples).sum::<u32>(), 100);
    let large: Snapshot<Reading> = [Reading { number: 0, text: "x".repeat(9000) }].into_iter().collect();
    assert_eq!(encoder().max_bytes(4096).encode(&large).oversize, 1);
}

/// Takes what fits, and in order.
#[derive(Clone, Default)]
struct Narrow {
    limit: usize,
    taken: std::sync::Arc<std::sync::Mutex<Vec<Message>>>,
}

impl Publish for Narrow {
    async fn publish(&mut self, batch: &[Message]) -> Vec<Outcome> {
        let take = |message: &Message| {
            if message.payload.len() > self.limit {
                return Outcome::TooLarge(appmon::Error::broker("too large"));
            }
            self.taken.lock().unwrap().push(message.clone());
            Outcome::Accepted
        };
        batch.iter().map(take).collect()
    }

    fn codec(&self) -> Option<Codec> {
        Some(Codec::Otlp)
    }

    fn max_message_bytes(&self) -> Option<usize> {
        Some(self.limit)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// The same points, however they are cut.
    #[test]
    fn parts_and_pieces_lose_nothing(count in 0_u32..30, max in 4096_usize..40_000, limit in 1500_usize..6000) {
        let snapshot = processes(count, 0);
        let whole = points(&encoder().encode(&snapshot).messages);
        let mut encoder = encoder().max_bytes(max);
        for _ in 0..2 {
            let encoded = encoder.encode(&snapshot);
            prop_assert!(encoded.messages.iter().all(|message| message.payload.len() <= max));
            if encoded.oversize == 0 {
                let mut parts = points(&encoded.messages);
                prop_assert_eq!(parts.len(), whole.len());
                let order = |point: &(String, Option<bool>, NumberDataPoint)| format!("{point:?}");
                parts.sort_by_key(order);
                let mut whole = whole.clone();
                whole.sort_by_key(order);
                prop_assert_eq!(parts, whole);
            }
        }
        let narrow = Narrow { limit, ..Narrow::default() };
        let taken = narrow.taken.clone();
        let forwarder = Forwarder::new(narrow).host("web-17").retry(Duration::ZERO, Duration::ZERO);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let report = runtime.block_on(stream::iter([Ok(snapshot)]).forward_to(forwarder)).unwrap();
        prop_assert!(report.is_complete(), "{:?}", report);
        let taken = taken.lock().unwrap();
        let sorted = |mut points: Vec<(String, Option<bool>, NumberDataPoint)>| {
            points.sort_by_key(|point| format!("{point:?}"));
            points
        };
        prop_assert_eq!(sorted(points(&taken)), sorted(whole));
        prop_assert!(taken.iter().all(|piece| piece.samples as usize == points(std::slice::from_ref(piece)).len()));
    }
}

#[test]
fn settings_that_do_not_fit_are_named() {
    let narrow = || Narrow { limit: 1 << 20, ..Narrow::default() };
    for (forwarder, named) in [
        (Forwarder::new(narrow()).codec(Codec::Json), "accepts only application/x-protobuf"),
        (Forwarder::new(narrow()).per_sample(true), "per_sample"),
    ] {
        let error = block_on(stream::iter([Ok(processes(1, 0))]).forward_to(forwarder)).unwrap_err();
        assert!(error.is_config() && error.to_string().contains(named), "{error}");
    }
    assert_eq!("otlp".parse::<Codec>().unwrap(), Codec::Otlp);
    assert!("otpl".parse::<Codec>().unwrap_err().to_string().contains("otlp"));
}
