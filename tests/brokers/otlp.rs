//! OTLP over HTTP, to a receiver of other libraries.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a panic is the report of a test")]

use std::collections::BTreeSet;
use std::time::Duration;

use appmon::broker::otlp::Http;
use appmon::forward::{Codec, Encoder, Forwarder, Host, Message, Outcome, Publish};
use appmon::{Cancel, ForwardExt, Processes, Select, Snapshot, Source, SourceExt};
use common::Helper;
use common::brokers::{Proxy, free_port, snapshot};
use common::certificates::Certificates;
use common::python::python_with;
use futures::StreamExt;
use serde_json::{Value, json};

struct Receiver {
    helper: Helper,
    port: u16,
}

impl Receiver {
    fn start() -> Option<Self> {
        Self::start_on(free_port(), &[])
    }

    fn start_on(port: u16, more: &[&str]) -> Option<Self> {
        let mut python = python_with("opentelemetry.proto.collector.metrics.v1.metrics_service_pb2")?;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/support/otlp_receiver.py");
        let mut helper = Helper::spawn(python.arg(script).arg(port.to_string()).args(more));
        assert_eq!(helper.line(), "ready");
        Some(Self { helper, port })
    }

    /// Before any request: its word follows at once.
    fn order(&mut self, order: &Value) {
        self.helper.say(&order.to_string());
        assert_eq!(self.helper.line(), "done");
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The next request with something in it.
    fn request(&mut self) -> Value {
        serde_json::from_str(&self.helper.line()).unwrap()
    }
}

fn encoder() -> Encoder {
    Encoder::new(Host::new("web-17").unwrap()).codec(Codec::Otlp)
}

fn own_process() -> Snapshot<appmon::ProcessSample> {
    let mut snapshot = Snapshot::default();
    Processes::new().select(Select::pid(std::process::id())).collect(&mut snapshot, &Cancel::new()).unwrap();
    snapshot
}

fn metrics() -> Message {
    encoder().encode(&own_process()).messages.remove(0)
}

fn logs() -> Message {
    encoder().encode(&snapshot(0, 3)).messages.remove(0)
}

fn text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Retry(error) => format!("retry {error}"),
        Outcome::RetryAfter { wait, error } => format!("retry after {wait:?} {error}"),
        Outcome::Partly { refused, error } => format!("partly {refused} {error}"),
        Outcome::Unknown(error) => format!("unknown {error}"),
        Outcome::Rejected(error) => format!("rejected {error}"),
        Outcome::TooLarge(error) => format!("too large {error}"),
        other => format!("{other:?}"),
    }
}

async fn outcome(queue: &mut Http, message: &Message) -> String {
    text(&queue.publish(std::slice::from_ref(message)).await[0])
}

fn metric<'a>(request: &'a Value, name: &str) -> &'a Value {
    let metrics = request["request"]["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].as_array().unwrap();
    metrics.iter().find(|metric| metric["name"] == name).unwrap_or_else(|| panic!("no {name} in {request}"))
}

fn attribute<'a>(of: &'a Value, key: &str) -> &'a Value {
    &of["attributes"].as_array().unwrap().iter().find(|pair| pair["key"] == key).unwrap()["value"]
}

#[tokio::test]
async fn another_implementation_reads_what_processes_use() {
    let Some(mut receiver) = Receiver::start() else { return };
    let forwarder = Forwarder::new(Http::new(receiver.url()).unwrap()).host("web-17");
    let own = Processes::new().select(Select::pid(std::process::id())).every(Duration::from_millis(20)).take(2);
    let report = own.forward_to(forwarder).await.unwrap();
    assert_eq!((report.accepted, report.is_complete()), (2, true), "{report:?}");
    let (first, second) = (receiver.request(), receiver.request());
    assert_eq!((&first["path"], &first["encoding"]), (&json!("/v1/metrics"), &json!("gzip")));
    let resource = &first["request"]["resourceMetrics"][0]["resource"];
    assert_eq!(attribute(resource, "host.name"), &json!({"stringValue": "web-17"}));
    let point = |request: &Value| {
        let time = metric(request, "process.cpu.time").clone();
        assert_eq!((&time["unit"], &time["sum"]["isMonotonic"]), (&json!("s"), &json!(true)));
        time["sum"]["dataPoints"][0].clone()
    };
    let (before, now) = (point(&first), point(&second));
    assert_eq!(attribute(&before, "process.pid"), &json!({"intValue": std::process::id().to_string()}));
    assert!(now["asDouble"].as_f64() >= before["asDouble"].as_f64());
    assert_eq!(before["startTimeUnixNano"], now["startTimeUnixNano"]);
    let nanos = |point: &Value, name: &str| point[name].as_str().unwrap().parse::<u64>().unwrap();
    assert!(nanos(&before, "startTimeUnixNano") < nanos(&before, "timeUnixNano"));
    assert!(nanos(&before, "timeUnixNano") < nanos(&now, "timeUnixNano"));
    let memory = metric(&first, "process.memory.usage");
    assert_eq!((&memory["unit"], memory["sum"].get("isMonotonic")), (&json!("By"), None));
}

#[tokio::test]
async fn what_has_no_metrics_is_a_log() {
    let Some(mut receiver) = Receiver::start() else { return };
    let mut queue = Http::new(receiver.url()).unwrap().gzip(false);
    assert_eq!(outcome(&mut queue, &logs()).await, "Accepted");
    let request = receiver.request();
    assert_eq!((&request["path"], &request["encoding"]), (&json!("/v1/logs"), &Value::Null));
    let records = &request["request"]["resourceLogs"][0]["scopeLogs"][0]["logRecords"];
    assert_eq!(records.as_array().unwrap().len(), 3);
    assert_eq!(records[2]["eventName"], "appmon.reading");
    assert_eq!(attribute(&records[2], "number"), &json!({"intValue": "2"}));
    let body: Value = serde_json::from_str(records[2]["body"]["stringValue"].as_str().unwrap()).unwrap();
    assert_eq!(body["text"], "of snapshot 0: ü \"quoted\"");
}

#[tokio::test]
async fn each_answer_has_its_outcome() {
    let Some(mut receiver) = Receiver::start() else { return };
    let message = metrics();
    for (answer, begin, within) in [
        (json!({"status": 202}), "Accepted", ""),
        (json!({"status": 200, "rejected": 0, "text": "deprecated"}), "Accepted", ""),
        (json!({"status": 200, "rejected": 3, "text": "too old"}), "partly 3", "too old"),
        (json!({"status": 400, "text": "no\nsuch"}), "rejected", "400 Bad Request: no such"),
        (json!({"status": 422}), "rejected", "422"),
        (json!({"status": 403}), "retry ", "authorization"),
        (json!({"status": 404}), "retry ", "without /v1/metrics"),
        (json!({"status": 302, "headers": {"Location": "http://elsewhere/"}}), "retry ", "http://elsewhere/"),
        (json!({"status": 413}), "too large", "413"),
        (json!({"status": 429, "text": "busy"}), "retry ", "busy"),
        (json!({"status": 429, "headers": {"Retry-After": "7"}}), "retry after 7s", "429"),
        (json!({"status": 502}), "retry ", "502"),
        (json!({"status": 503, "headers": {"Retry-After": "70"}}), "retry after 70s", "503"),
        (json!({"status": 503, "headers": {"Retry-After": "Fri, 06 Nov 2893 08:49:37 GMT"}}), "retry after", "503"),
        (json!({"status": 500}), "unknown", "500"),
        (json!({"status": 0}), "unknown", "the connection ended"),
    ] {
        receiver.order(&json!({"answers": [answer]}));
        let mut queue = Http::new(receiver.url()).unwrap();
        let seen = outcome(&mut queue, &message).await;
        assert!(seen.starts_with(begin) && seen.contains(within), "{answer}: {seen}");
        if answer["status"] != 0 {
            receiver.request();
        }
    }
    let json = Encoder::new(Host::new("web-17").unwrap()).encode(&own_process()).messages.remove(0);
    let seen = outcome(&mut Http::new(receiver.url()).unwrap(), &json).await;
    assert!(seen.starts_with("rejected") && seen.contains("needs the codec"), "{seen}");
}

/// It is asked again when its time is over, and not before.
#[tokio::test]
async fn a_busy_receiver_is_waited_for() {
    let Some(mut receiver) = Receiver::start() else { return };
    let busy = |wait: &str| json!({"status": 429, "headers": {"Retry-After": wait}});
    receiver.order(&json!({"answers": [busy("1"), {"status": 503}, {"status": 0}, {"status": 200}]}));
    let forwarder = Forwarder::new(Http::new(receiver.url()).unwrap());
    let forwarder = forwarder.host("web-17").retry(Duration::from_millis(1), Duration::from_millis(10));
    let began = tokio::time::Instant::now();
    let report = futures::stream::iter([Ok(own_process())]).forward_to(forwarder).await.unwrap();
    assert_eq!((report.accepted, report.unknown, report.is_complete()), (1, 1, true), "{report:?}");
    assert!(began.elapsed() >= Duration::from_secs(1));
    let statuses = [receiver.request(), receiver.request(), receiver.request()].map(|seen| seen["status"].clone());
    assert_eq!(statuses, [429, 503, 200]);
}

#[tokio::test]
async fn too_large_a_request_arrives_in_pieces() {
    let Some(mut receiver) = Receiver::start() else { return };
    receiver.order(&json!({"limit": 2000}));
    let forwarder = Forwarder::new(Http::new(receiver.url()).unwrap());
    let forwarder = forwarder.host("web-17").retry(Duration::from_millis(1), Duration::from_millis(10));
    let report = futures::stream::iter([Ok(own_process())]).forward_to(forwarder).await.unwrap();
    assert!(report.is_complete() && report.accepted > 1, "{report:?}");
    let whole = metrics();
    let mut seen = BTreeSet::new();
    let mut count = 0;
    for _ in 0..report.accepted {
        let request = receiver.request();
        for metric in request["request"]["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].as_array().unwrap() {
            let data = metric.get("sum").or(metric.get("gauge")).unwrap();
            for point in data["dataPoints"].as_array().unwrap() {
                seen.insert((metric["name"].to_string(), point["attributes"].to_string()));
                count += 1;
            }
        }
    }
    assert_eq!((seen.len(), count), (whole.samples as usize, whole.samples as usize), "each point once");
}

#[tokio::test]
async fn connections_that_end_are_made_again() {
    let Some(mut receiver) = Receiver::start() else { return };
    let message = metrics();
    // Receivers may close after any answer.
    let close = json!({"status": 200, "headers": {"Connection": "close"}});
    receiver.order(&json!({"answers": [close, close, close]}));
    let mut queue = Http::new(receiver.url()).unwrap();
    let outcomes = queue.publish(&[message.clone(), message.clone(), message.clone()]).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Accepted)), "{outcomes:?}");
    // Half-open: no answer, and then another connection.
    let proxy = Proxy::to(receiver.port);
    let url = format!("http://127.0.0.1:{}", proxy.port());
    let mut queue = Http::new(url).unwrap().timeout(Duration::from_millis(300));
    assert_eq!(outcome(&mut queue, &message).await, "Accepted");
    proxy.swallow();
    let seen = outcome(&mut queue, &message).await;
    assert!(seen.starts_with("unknown"), "{seen}");
    proxy.pass();
    let mut queue = queue.timeout(Duration::from_secs(20));
    assert_eq!(outcome(&mut queue, &message).await, "Accepted");
}

/// What a spool has is sent when there is a receiver at last.
#[tokio::test]
async fn a_spool_bridges_an_outage() {
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool.redb");
    let forwarder = || {
        let queue = Http::new(format!("http://127.0.0.1:{port}")).unwrap();
        let forwarder = Forwarder::new(queue).host("web-17").spool(&path, 1 << 20);
        forwarder.retry(Duration::from_millis(1), Duration::from_millis(10))
    };
    let nobody = forwarder().deadline(Duration::from_millis(50));
    let report = futures::stream::iter([Ok(own_process()), Ok(own_process())]).forward_to(nobody).await.unwrap();
    assert_eq!(report.accepted, 0, "{report:?}");
    let Some(mut receiver) = Receiver::start_on(port, &[]) else { return };
    let report = futures::stream::iter([Ok(own_process())]).forward_to(forwarder()).await.unwrap();
    assert_eq!((report.replayed, report.accepted), (2, 3), "{report:?}");
    let times = [receiver.request(), receiver.request(), receiver.request()].map(|request| {
        metric(&request, "process.cpu.time")["sum"]["dataPoints"][0]["timeUnixNano"].as_str().unwrap().to_owned()
    });
    assert!(times.is_sorted(), "{times:?}");
}

#[tokio::test]
async fn secrets_are_read_anew_and_shown_nowhere() {
    let certificates = Certificates::new();
    let port = free_port();
    let files = [certificates.path("server.pem"), certificates.path("server.key")];
    let Some(mut receiver) = Receiver::start_on(port, &[&files[0], &files[1]]) else { return };
    receiver.order(&json!({"authorization": "Bearer new-s3cret"}));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "old-s3cret\n").unwrap();
    let mut queue = Http::new(format!("https://127.0.0.1:{port}"))
        .unwrap()
        .tls(certificates.stranger())
        .header("x-key", "hidden-s3cret")
        .bearer_from_file(&path);
    let message = metrics();
    let seen = outcome(&mut queue, &message).await;
    assert!(seen.starts_with("retry ") && seen.contains("401"), "{seen}");
    std::fs::write(&path, "new-s3cret\n").unwrap();
    assert_eq!(outcome(&mut queue, &message).await, "Accepted");
    let shown = format!("{queue:?} {seen} {}", queue.destination());
    assert!(!shown.contains("s3cret"), "{shown}");
    std::fs::remove_file(&path).unwrap();
    let mut queue = queue.clone();
    let seen = outcome(&mut queue, &message).await;
    assert!(seen.starts_with("retry ") && seen.contains("token"), "{seen}");
    let url = format!("https://me:s3cret@127.0.0.1:{port}");
    let mut queue = Http::new(url).unwrap().tls(certificates.stranger()).header_from_env("x-key", "APPMON_NOT_SET");
    let seen = outcome(&mut queue, &message).await;
    assert!(seen.contains("APPMON_NOT_SET") && !seen.contains("s3cret"), "{seen}");
}

#[test]
fn wrong_settings_are_named() {
    for (url, named) in [
        ("grpc://collector:4317", "begins with http://"),
        ("http://collector?x=1", "it has a ?"),
        ("http://user:s3cret@collector/a b", "path"),
    ] {
        let error = Http::new(url).unwrap_err();
        assert!(error.is_config() && error.to_string().contains(named), "{error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
    let queue = || Http::new("http://collector/otlp/").unwrap();
    assert_eq!(queue().destination(), "http://collector:80 /v1/metrics,/v1/logs");
    for (queue, named) in [
        (queue().header("a b", "x"), "no name of a header"),
        (queue().header("key", "s3cret\n"), "its value"),
        (queue().header("content-length", "7"), "decided by the connection"),
        (queue().tls(Certificates::new().stranger()), "scheme"),
    ] {
        let error = queue.validate().unwrap_err();
        assert!(error.is_config() && error.to_string().contains(named), "{error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
}
