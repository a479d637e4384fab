//! The agent of the examples, from its file to a server and to the page of metrics.

use std::collections::BTreeSet;

use appmon::Rated;
use appmon::stream::GroupSample;
use common::agent::{Agent, page_with};
use rustix::process::Signal;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_file_says_is_forwarded_until_it_ends_in_order() {
    let Some(nats) = Nats::started() else { return };
    nats.create().await;
    let folder = tempfile::tempdir().unwrap();
    let (file, metrics) = (folder.path().join("agent.toml"), free_port());
    let settings = format!(
        "every = \"50ms\"\nmetrics = \"127.0.0.1:{metrics}\"\n[processes]\n[groups]\nby = \"name\"\n[forward]\nurl = \"{}\"\n\
         host = \"web-17\"\n[[alerts]]\non = \"processes\"\nname = \"alive\"\nrule = \"threads >= 1\"\n",
        nats.url()
    );
    std::fs::write(&file, settings).unwrap();
    let mut agent = Agent::start(&file);
    agent.until("running");
    let page = page_with(metrics, "name=\"nats-server\"");
    assert!(page.contains("# EOF"), "{page}");

    // Groups with rates: the second snapshot has them.
    let consumer = Consumer::<Rated<GroupSample<String>>>::new(server(nats.port).timeout(PATIENCE), STREAM).unwrap();
    let mut arriving = consumer.from_oldest().stream();
    for seq in 0..2 {
        let tick = arriving.next().await.unwrap().unwrap();
        assert_eq!((tick.host.as_deref(), tick.seq), (Some("web-17"), seq));
        assert!(tick.samples.iter().any(|group| group.sample.key.to_string() == "nats-server"), "{tick:?}");
    }

    agent.signal(Signal::TERM);
    let (status, reports) = agent.end();
    assert!(status.success() && reports.len() == 1, "{status} {reports:?}");
    let report: serde_json::Value = serde_json::from_str(&reports[0]).unwrap();
    let count = |key: &str| report[key].as_u64().unwrap();
    assert!(count("accepted") >= 3 && count("accepted") == count("messages"), "{report}");

    // All that the report has is in the stream, each once; the alert is there too.
    let stored = nats.stored().await;
    assert_eq!(stored.len() as u64, count("accepted"));
    let ids: BTreeSet<String> = stored.iter().map(|(id, _)| id.to_string()).collect();
    assert_eq!(ids.len(), stored.len());
    let alive = |payload: &Vec<u8>| String::from_utf8_lossy(payload).contains("\"rule\":\"alive\"");
    assert!(stored.iter().any(|(_, payload)| alive(payload)), "no alert");
}
