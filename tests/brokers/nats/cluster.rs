//! A cluster of three servers, whose routes go through proxies that can be cut.

use async_nats::jetstream;
use async_nats::jetstream::stream::Config;
use tempfile::TempDir;

use super::*;

/// Three servers; all ways between the first and the others lead through proxies.
struct Cluster {
    servers: Vec<Broker>,
    proxies: [Proxy; 3],
    _data: TempDir,
}

impl Cluster {
    /// `None` where there is no NATS on this machine.
    fn started() -> Option<Self> {
        let there = Command::new("nats-server").arg("--version").output().is_ok();
        if !common::require(there, "nats-server") {
            return None;
        }
        let data = tempfile::tempdir().unwrap();
        let routes: [u16; 3] = std::array::from_fn(|_| free_port());
        let proxies = routes.map(Proxy::to);
        let ways = [vec![proxies[1].port()], vec![proxies[0].port()], vec![proxies[0].port(), routes[1]]];
        let servers = (0..3).map(|index| {
            let port = free_port();
            let ways: Vec<_> = ways[index].iter().map(|port| format!("nats-route://127.0.0.1:{port}")).collect();
            // The servers name each other too, and clients are not to learn of other servers.
            let config = format!(
                "server_name: s{index}\n\
                 jetstream {{ store_dir: {:?} }}\n\
                 cluster {{ name: c, listen: \"127.0.0.1:{}\", no_advertise: true, cluster_advertise: \"127.0.0.1:{}\", routes: {ways:?} }}\n",
                data.path().join(index.to_string()),
                routes[index],
                proxies[index].port(),
            );
            let path = data.path().join(format!("s{index}.conf"));
            std::fs::write(&path, config).unwrap();
            let mut command = Command::new("nats-server");
            command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-c"]).arg(path);
            Broker::start(&mut command, port)
        });
        Some(Self { servers: servers.collect(), proxies, _data: data })
    }

    fn isolate_the_first(&self) {
        for proxy in &self.proxies {
            proxy.refuse();
        }
    }

    async fn admin(&self, index: usize) -> jetstream::Context {
        jetstream::new(async_nats::connect(url(self.servers[index].port())).await.unwrap())
    }

    /// Makes the stream on all three, once they have found each other.
    async fn create(&self) {
        let admin = self.admin(1).await;
        let config = Config {
            name: STREAM.to_owned(),
            subjects: vec!["appmon.>".to_owned()],
            num_replicas: 3,
            ..Config::default()
        };
        let mut last = None;
        for _ in 0..600 {
            match admin.create_stream(config.clone()).await {
                Ok(_) => return,
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("never: a stream of three replicas, {last:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_routes_are_cut_is_left_for_those_with_the_quorum() {
    let Some(cluster) = Cluster::started() else { return };
    cluster.create().await;
    let first = Proxy::to(cluster.servers[0].port());
    let urls = [first.port(), cluster.servers[1].port(), cluster.servers[2].port()].map(url);
    let broker = JetStream::new(Server::new(urls.join(",")).timeout(TIMEOUT)).unwrap();
    let (task, log) = forward(600, broker, &CancellationToken::new());
    log.until_accepted(100).await;
    assert!(first.has_connections());
    cluster.isolate_the_first();
    assert_complete(&task.await.unwrap(), 600);
    let alone = jetstream(cluster.servers[0].port()).await.publish(&messages(1)).await;
    assert_ne!(kinds(&alone), "A", "the first alone has no quorum");
    log.check(&stored(&cluster.admin(1).await).await);
}
