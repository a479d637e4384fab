//! Settings from text: each setter has a key, each key is read, written and used, and no secret is shown.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use appmon::config::{
    AlertConfig, AlertOn, By, DirectoryConfig, FileSystemsConfig, ForwardConfig, GroupsConfig, OwnProcessConfig,
    ProcessEventsConfig, ProcessesConfig, PrometheusConfig, WindowConfig,
};
use appmon::forward::{Forwarder, Publish};
use appmon::stream::{AlertState, WindowSample};
use appmon::{FileSystems, OwnProcess, Processes, Snapshot, SnapshotStreamExt, SourceExt};
use futures::{StreamExt, TryStreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

const PROCESSES: &str = r#"
root = "/proc"
select = "user=root & !kernel_thread"
fields = "io,user,cgroup,status"
max_age = "1m"
list_every = "forever"
recheck = "3s"
max_fds = 7
threads = 2
slow_budget = "50ms"
slow_cadence = "1m"
max_text_bytes = "1 MiB"
lives = true
"#;
const EVENTS: &str = r#"
root = "/proc"
select = "name=nginx"
fields = "io,status"
undecided = true
connector = false
buffer_bytes = "1 MiB"
max_pending = 100
"#;
const OWN: &str = "fields = \"io\"\nthreads = false\n";
const FILE_SYSTEMS: &str = r#"
mounted = true
include_types = ["ext?", "xfs"]
exclude_types = ["tmpfs"]
include_paths = ["/srv{,/**}"]
exclude_paths = ["/boot*"]
budget = "1s"
scans = 3
scan_threads = 1
entries_per_second = 1000
max_watches = 10

[[register]]
name = "main"
mount_point = "/"
optional = true

[[directories]]
name = "logs"
path = "/var/log"
ttl = "5m"
backoff = 2.5
wait = true
watched = true
verify = "1h"
exclude = ["*.tmp", "/cache/*"]
boundary = "cross"
optional = true

[[directories]]
name = "jobs"
path = "/var/lib/jobs"
ttl = "1m"
backoff = 0.0
background = true
boundary = "same_device"
"#;
const GROUPS: &str = "by = \"user\"\nname = \"owner\"\nmax_groups = 10\nkeep_empty = true\n";
const WINDOW: &str = "length = \"1m\"\nfields = [\"cpu.cores\"]\nquantiles = [0.5, 0.99]\nsliding = true\n";
const ALERT: &str = "on = \"groups\"\nrule = \"cpu.cores > 0.8 for 30s\"\nname = \"busy\"\n";
const PROMETHEUS: &str = "naming = \"process_exporter\"\nrates = true\nmax_subjects = 10\n";
const FORWARD: &str = r#"
url = "nats://127.0.0.1:4222"
user = "monitor"
password_env = "PATH"
timeout = "3s"
in_flight = 7
host = "web-17"
codec = "message_pack"
per_sample = true
max_message_bytes = "128 KiB"
linger = "10ms"
overflow = "drop_oldest"
publish_timeout = "20s"
deadline = "5s"
only_changed = "10m"

[tls]
ca_file = "/etc/ca.pem"
certificate_file = "/etc/client.pem"
key_file = "/etc/client.key"

[batch]
messages = 10
bytes = "1 MiB"

[queue]
messages = 100
bytes = "2 MiB"

[retry]
first = "1s"
most = "1m"

[spool]
path = "spool.redb"
max = "64 MiB"
"#;
const NATS: &str = r#"
core = true
subject = "metrics.{kind}"
name = "agent"
token_file = "/etc/token"
token_env = "TOKEN"
nkey_file = "/etc/nkey"
nkey_env = "NKEY"
credentials_file = "/etc/nats.creds"
credentials_env = "CREDENTIALS"
"#;
const KAFKA: &str = r#"
topic = "metrics.{kind}"
compression = "snappy"
idempotent = false

[set]
"linger.ms" = "5"

[set_file]
"ssl.key.password" = "/etc/password"

[set_env]
"ssl.keystore.password" = "PASSWORD"
"#;
const AMQP: &str = "exchange = \"metrics\"\nrouting_key = \"{kind}\"\nqueue = \"samples\"\n";
const MQTT: &str = r#"
version = "3.1.1"
topic = "metrics/{kind}"
client_id = "agent"
retain = true
expiry = "1h"
require_subscribers = true
keep_alive = "1m"
max_packet_bytes = 65536
"#;
const OTLP: &str = r#"
gzip = false
bearer_file = "/etc/token"
headers_env = { x-scope-orgid = "TENANT" }
headers_file = { api-key = "/etc/key" }
"#;

const REDIS: &str = "key = \"metrics:{kind}\"\nmax_len = 1000\nexisting_only = true\n";

/// What is read is written again, and each key is in the text.
#[track_caller]
fn both_ways<T: Serialize + DeserializeOwned>(name: &str, text: &str) -> T {
    let read: T = toml::from_str(text).unwrap_or_else(|error| panic!("{error}"));
    let expected: toml::Table = toml::from_str(text).unwrap();
    assert_eq!(toml::Table::try_from(&read).unwrap(), expected);
    let json = serde_json::to_string(&read).unwrap();
    let again: T = serde_json::from_str(&json).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), json);
    let written: BTreeSet<String> = expected.keys().cloned().collect();
    let mut missing = keys(name);
    missing.retain(|key| !written.contains(key));
    assert_eq!(missing, BTreeSet::new(), "keys of {name} that this text leaves out");
    read
}

#[test]
fn every_key_is_read_and_written() {
    both_ways::<ProcessesConfig>("ProcessesConfig", PROCESSES);
    both_ways::<ProcessEventsConfig>("ProcessEventsConfig", EVENTS);
    both_ways::<OwnProcessConfig>("OwnProcessConfig", OWN);
    let file_systems = both_ways::<FileSystemsConfig>("FileSystemsConfig", FILE_SYSTEMS);
    let written =
        |directory: &DirectoryConfig| toml::Table::try_from(directory).unwrap().keys().cloned().collect::<Vec<_>>();
    let written: BTreeSet<String> = file_systems.directories.iter().flat_map(written).collect();
    assert_eq!(written, keys("DirectoryConfig"));
    both_ways::<GroupsConfig>("GroupsConfig", GROUPS);
    both_ways::<WindowConfig>("WindowConfig", WINDOW);
    both_ways::<AlertConfig>("AlertConfig", ALERT);
    both_ways::<PrometheusConfig>("PrometheusConfig", PROMETHEUS);
    both_ways::<appmon::config::NatsConfig>("NatsConfig", NATS);
    both_ways::<appmon::config::KafkaConfig>("KafkaConfig", KAFKA);
    both_ways::<appmon::config::AmqpConfig>("AmqpConfig", AMQP);
    both_ways::<appmon::config::MqttConfig>("MqttConfig", MQTT);
    both_ways::<appmon::config::RedisConfig>("RedisConfig", REDIS);
    both_ways::<appmon::config::OtlpConfig>("OtlpConfig", OTLP);
    let tables = "\npassword_file = \"/etc/password\"\n[nats]\n[kafka]\n[amqp]\n[mqtt]\n[redis]\n[otlp]\n";
    let (head, rest) = FORWARD.split_once("[tls]").unwrap();
    let (first, rest_of_tables) = tables.split_once("\n[").unwrap();
    both_ways::<ForwardConfig>("ForwardConfig", &format!("{head}{first}\n[tls]{rest}\n[{rest_of_tables}"));
}

#[test]
fn builders_have_the_settings_of_their_text() {
    let config: ProcessesConfig = toml::from_str(PROCESSES).unwrap();
    assert_eq!(ProcessesConfig::from(&config.build().unwrap()), config);
    let config: ProcessEventsConfig = toml::from_str(EVENTS).unwrap();
    assert_eq!(ProcessEventsConfig::from(&config.build()), config);
    let config: OwnProcessConfig = toml::from_str(OWN).unwrap();
    assert_eq!(OwnProcessConfig::from(&config.build()), config);
    let config: FileSystemsConfig = toml::from_str(FILE_SYSTEMS).unwrap();
    assert_eq!(FileSystemsConfig::from(&config.build().unwrap()), config);
    // The tables of brokers are of brokers alone, and so is the user.
    let mut config: ForwardConfig = toml::from_str(FORWARD).unwrap();
    (config.tls, config.user, config.password_env) = (None, None, None);
    let forwarder = config.build().unwrap();
    let mut again = ForwardConfig::new("nats://127.0.0.1:4222").with_settings_of(&forwarder);
    (again.timeout, again.in_flight) = (config.timeout, config.in_flight);
    assert_eq!(again, config);
}

#[test]
fn nothing_set_is_the_builder_s_default() {
    let processes = ProcessesConfig::default();
    assert_eq!(ProcessesConfig::from(&processes.build().unwrap()), ProcessesConfig::from(&Processes::new()));
    let file_systems = FileSystemsConfig::default();
    assert_eq!(FileSystemsConfig::from(&file_systems.build().unwrap()), FileSystemsConfig::from(&FileSystems::new()));
    assert_eq!(
        OwnProcessConfig::from(&OwnProcess::new()),
        OwnProcessConfig::from(&OwnProcessConfig::default().build())
    );
    let forward = ForwardConfig::new("redis://127.0.0.1");
    let plain = ForwardConfig::new("redis://127.0.0.1").with_settings_of(&Forwarder::new(forward.publish().unwrap()));
    assert_eq!(ForwardConfig::new("redis://127.0.0.1").with_settings_of(&forward.build().unwrap()), plain);
    assert_eq!(toml::to_string(&forward).unwrap(), "url = \"redis://127.0.0.1\"\n");
}

/// The setters in a file of the source that have no key, or one of another name.
#[test]
fn every_setter_has_a_key() {
    // A type, its file, its table, and its setters with other names: empty where a function or a handle has no key.
    type Row = (&'static str, &'static str, &'static [&'static str], &'static [(&'static str, &'static str)]);
    const COMMON: (&str, &str) = ("tls", "tls");
    let rows: [Row; 17] = [
        ("Processes", "process/processes.rs", &["ProcessesConfig"], &[("redact", "")]),
        ("ProcessEvents", "events/source.rs", &["ProcessEventsConfig"], &[]),
        ("OwnProcess", "own/source.rs", &["OwnProcessConfig"], &[("runtime", ""), ("source", "")]),
        ("FileSystems", "fs/filesystems.rs", &["FileSystemsConfig"], &[("directory", "directories")]),
        ("FileSystem", "fs/file_system.rs", &["FileSystemConfig"], &[]),
        ("Directory", "fs/directory.rs", &["DirectoryConfig"], &[]),
        ("GroupBy", "stream/group_by.rs", &["GroupsConfig"], &[("by", "name"), ("into_inner", "")]),
        ("Windows", "stream/window.rs", &["WindowConfig"], &[]),
        // The other setters are parts of the rule.
        (
            "Alert",
            "stream/alert/rule.rs",
            &["AlertConfig"],
            &[("hold", "rule"), ("until", "rule"), ("clear_hold", "rule")],
        ),
        ("Prometheus", "export/prometheus.rs", &["PrometheusConfig"], &[]),
        (
            "Forwarder",
            "forward/forwarder.rs",
            &["ForwardConfig"],
            &[
                ("shutdown", ""),
                ("shutdown_when", ""),
                ("abort", ""),
                ("on_rejected", ""),
                ("dead_band", ""),
                ("feed", ""),
            ],
        ),
        ("JetStream", "broker/nats/jetstream.rs", &["NatsConfig"], &[]),
        ("Core", "broker/nats/core_nats.rs", &["NatsConfig"], &[]),
        (
            "Server",
            "broker/nats/server.rs",
            &["NatsConfig", "ForwardConfig"],
            &[
                ("user_and_password", "user"),
                ("token", "token_file"),
                ("nkey", "nkey_file"),
                ("credentials", "credentials_env"),
                COMMON,
            ],
        ),
        ("Kafka", "broker/kafka.rs", &["KafkaConfig", "ForwardConfig"], &[]),
        ("Amqp", "broker/amqp.rs", &["AmqpConfig", "ForwardConfig"], &[]),
        ("Mqtt", "broker/mqtt.rs", &["MqttConfig", "ForwardConfig"], &[("credentials", "password_file")]),
    ];
    let otlp: Row = (
        "Http",
        "broker/otlp.rs",
        &["OtlpConfig", "ForwardConfig"],
        // A header in plain text may be a secret.
        &[
            ("header", ""),
            ("header_from_env", "headers_env"),
            ("header_from_file", "headers_file"),
            ("bearer_from_file", "bearer_file"),
        ],
    );
    let redis: Row = ("Streams", "broker/redis.rs", &["RedisConfig", "ForwardConfig"], &[]);
    let mut without = Vec::new();
    for (of, file, tables, renamed) in rows.into_iter().chain([redis, otlp]) {
        let found = setters(file, of);
        assert!(!found.is_empty(), "where are the setters of {of}?");
        let known: BTreeSet<String> = tables.iter().flat_map(|table| keys(table)).collect();
        for setter in found {
            let key = renamed.iter().find(|(from, _)| *from == setter).map_or(setter.as_str(), |(_, key)| key);
            if !key.is_empty() && !known.contains(key) {
                without.push(format!("{of}::{setter}"));
            }
        }
    }
    assert_eq!(without, [""; 0], "setters without a key");
}

/// The methods of a type that take it by value and return it.
fn setters(file: &str, of: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../src")).join(file)).unwrap();
    let file = syn::parse_file(&text).unwrap();
    let mut found = BTreeSet::new();
    for item in file.items {
        let syn::Item::Impl(block) = item else { continue };
        let syn::Type::Path(path) = &*block.self_ty else { continue };
        if block.trait_.is_some() || path.path.segments.last().is_none_or(|segment| segment.ident != of) {
            continue;
        }
        for item in block.items {
            let syn::ImplItem::Fn(method) = item else { continue };
            let by_value =
                method.sig.receiver().is_some_and(|receiver| matches!(receiver.kind, syn::ReceiverKind::Value));
            let returned = match &method.sig.output {
                syn::ReturnType::Type(_, returned) => returned,
                syn::ReturnType::Default => continue,
            };
            let returned = match &**returned {
                syn::Type::Path(path) => path.path.segments.last().unwrap(),
                _ => continue,
            };
            let is_self = |path: &syn::PathSegment| path.ident == "Self";
            let in_result = match &returned.arguments {
                syn::PathArguments::AngleBracketed(arguments) => arguments.args.first().is_some_and(|first| {
                    matches!(first, syn::GenericArgument::Type(syn::Type::Path(path))
                        if path.path.segments.last().is_some_and(is_self))
                }),
                _ => false,
            };
            if matches!(method.vis, syn::Visibility::Public(_)) && by_value && (is_self(returned) || in_result) {
                found.insert(method.sig.ident.to_string());
            }
        }
    }
    found
}

/// The keys of a table, as they are defined in the source.
fn keys(table: &str) -> BTreeSet<String> {
    fn read(folder: &Path, keys: &mut BTreeMap<String, BTreeSet<String>>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, keys);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for table in text.split("pub struct ").skip(1) {
                let name = table.split([' ', '<', '(']).next().unwrap();
                let body = table.split("\n}\n").next().unwrap();
                if !body.contains("optional {") {
                    continue;
                }
                let fields = body.lines().filter_map(|line| {
                    let (name, _) = line.trim().split_once(": ")?;
                    name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_').then(|| name.to_owned())
                });
                keys.entry(name.to_owned()).or_default().extend(fields);
            }
        }
    }
    let mut all = BTreeMap::new();
    read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../src/config")), &mut all);
    all.remove(table).unwrap_or_else(|| panic!("there is no table {table}"))
}

#[test]
fn unknown_keys_name_the_nearest() {
    fn fault<T: DeserializeOwned>(text: &str) -> String {
        toml::from_str::<T>(text).map(drop).unwrap_err().to_string()
    }
    for (error, named) in [
        (fault::<ProcessesConfig>("selct = \"pid=1\""), "there is no key `selct`; did you mean `select`?"),
        (fault::<ProcessesConfig>("zzz = 1"), "there are root, select, fields"),
        (fault::<ProcessesConfig>("max_age = \"1m\"\nmax_age = \"2m\""), "duplicate"),
        (fault::<ProcessesConfig>("max_age = 10"), "a duration with its unit"),
        (fault::<ProcessesConfig>("max_age = \"10\""), "such as `10s`"),
        (fault::<ProcessesConfig>("select = \"usr=root\""), "did you mean `user`?"),
        (fault::<ProcessesConfig>("fields = [\"cmd\"]"), "did you mean `cmdline`?"),
        (
            fault::<FileSystemsConfig>("[[directories]]\nname = \"a\"\npath = \"/a\"\nwatch = true"),
            "did you mean `watched`?",
        ),
        (fault::<FileSystemsConfig>("[[directories]]\nname = \"a\""), "missing field `path`"),
        (fault::<GroupsConfig>("by = \"usr\""), "there is no key of groups `usr`; did you mean `user`?"),
        (fault::<AlertConfig>("on = \"group\"\nrule = \"\""), "did you mean `groups`?"),
        (
            fault::<ForwardConfig>("url = \"\"\nspool = { path = \"a\", max = \"1 MiX\" }"),
            "there is no unit of size `MiX`",
        ),
        (fault::<ForwardConfig>("url = \"\"\nnats = { subjct = \"a\" }"), "did you mean `subject`?"),
        (fault::<ForwardConfig>("overflow = \"block\""), "missing field `url`"),
    ] {
        assert!(error.contains(named), "{error}");
    }
    // The place is that of the key.
    let error = fault::<ProcessesConfig>("lives = true\nselct = \"pid=1\"\n");
    assert!(error.contains("line 2") && error.contains("\n  | ^^^^^"), "{error}");
}

#[test]
fn wrong_values_are_refused_when_it_is_built() {
    let processes = |text| toml::from_str::<ProcessesConfig>(text).unwrap().build().map(drop);
    assert!(processes("threads = 0").unwrap_err().is_config());
    let file_systems = |text| toml::from_str::<FileSystemsConfig>(text).unwrap().build().map(drop);
    for (text, named) in [
        ("include_types = [\"ext4\"]", "include_types"),
        ("mounted = true\nexclude_paths = [\"[\"]", "not a glob"),
        ("directories = [{ name = \"a\", path = \"/a\", wait = true, background = true }]", "not both"),
        ("directories = [{ name = \"a\", path = \"/a\" }, { name = \"a\", path = \"/b\" }]", "\"a\""),
        ("directories = [{ name = \"free\", path = \"/a\" }]", "free"),
    ] {
        let error = file_systems(text).unwrap_err();
        assert!(error.is_config() && error.to_string().contains(named), "{error}");
    }
    let alert = AlertConfig::new(AlertOn::FileSystems, "cpu.cores > 1");
    assert!(alert.check().unwrap_err().to_string().contains("cpu.cores"));
    assert!(AlertConfig::new(AlertOn::Groups, "cpu.cores > 1").check().is_ok());
    let forward = |text: &str| toml::from_str::<ForwardConfig>(text).unwrap().build().map(drop);
    for (text, named) in [
        ("url = \"127.0.0.1:4222\"", "such as nats://"),
        ("url = \"natts://127.0.0.1\"", "did you mean `nats`?"),
        ("url = \"ftp://127.0.0.1\"", "there are nats, tls, kafka"),
        ("url = \"nats://127.0.0.1\"\nkafka = { topic = \"a\" }", "kafka: these are settings of another broker"),
        ("url = \"nats://127.0.0.1\"\nnats = { subject = \"a b\" }", "subject"),
        ("url = \"nats://127.0.0.1\"\nhost = \"\"\npassword_file = \"/no/such/file\"", "/no/such/file"),
        ("url = \"nats://127.0.0.1\"\nuser = \"me\"", "user: it has no password"),
        ("url = \"nats://127.0.0.1\"\npassword_env = \"APPMON_NO_SUCH_VARIABLE\"", "APPMON_NO_SUCH_VARIABLE"),
        ("url = \"nats://127.0.0.1\"\npassword_env = \"A\"\npassword_file = \"/b\"", "not both"),
        ("url = \"nats://127.0.0.1\"\ntls = { certificate_file = \"/a\" }", "go together"),
        ("url = \"tls://127.0.0.1\"\ntls = { ca_file = \"/no/such/file\" }", "/no/such/file"),
        ("url = \"kafka://127.0.0.1\"\nin_flight = 1", "in_flight: Kafka has none"),
        ("url = \"kafka://127.0.0.1\"\nkafka = { set = { \"sasl.password\" = \"s3cret\" } }", "kafka.set_file"),
        ("url = \"kafka://127.0.0.1\"\nkafka = { set = { \"no.such\" = \"1\" } }", "no.such"),
        ("url = \"amqp://127.0.0.1\"\namqp = { queue = \"a\", exchange = \"b\" }", "either a queue"),
        ("url = \"redis://me:s3cret@127.0.0.1\"", "password_file or password_env"),
        ("url = \"nats://s3cret@127.0.0.1\"", "nats.token_file"),
    ] {
        let error = forward(text).unwrap_err();
        assert!(error.to_string().contains(named), "{text}: {error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
}

#[test]
fn secrets_come_from_files_and_are_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "s3:c@ret\n").unwrap();
    for url in ["nats://127.0.0.1", "kafka://127.0.0.1", "amqp://127.0.0.1", "mqtt://127.0.0.1", "redis://127.0.0.1/2"]
    {
        let mut config = ForwardConfig::new(url);
        (config.user, config.password_file) = (Some("monitor".to_owned()), Some(file.clone()));
        let publish = config.publish().unwrap();
        let shown = format!("{config:?} {publish:?} {:?} {}", config.build(), toml::to_string(&config).unwrap());
        assert!(!shown.contains("s3") && !shown.contains("c@ret") && !shown.contains("c%40ret"), "{shown}");
        assert!(publish.destination().contains("127.0.0.1"), "{publish:?}");
    }
    // An empty file is no password.
    std::fs::write(&file, "\n").unwrap();
    let mut config = ForwardConfig::new("redis://127.0.0.1");
    config.password_file = Some(file);
    assert!(config.publish().unwrap_err().to_string().contains("empty"));
    // Errors of the format quote the line, so a wrong URL is no error of the format.
    let text = "url = \"redis://me:s3cret@host\"\noverflow = \"drop_oldest\"";
    let config: ForwardConfig = toml::from_str(text).unwrap();
    assert!(!format!("{config:?}").contains("s3cret"));
    assert!(!toml::to_string(&config).unwrap_err().to_string().contains("s3cret"));
}

#[test]
fn secrets_of_kafka_are_not_shown() {
    for key in [
        "sasl.password",
        "ssl.key.pem",
        "ssl.key.password",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.config",
    ] {
        let text = format!(
            "url = \"kafka://127.0.0.1\"\nkafka = {{ set = {{ \"linger.ms\" = \"5\", \"{key}\" = \"s3cret\" }} }}"
        );
        let config: ForwardConfig = toml::from_str(&text).unwrap();
        let shown = format!("{config:?} {:#?}", config.kafka);
        assert!(shown.contains(key) && shown.contains("\"linger.ms\": \"5\"") && !shown.contains("s3cret"), "{shown}");
        let errors = [
            toml::to_string(&config).unwrap_err().to_string(),
            serde_json::to_string(&config).unwrap_err().to_string(),
        ];
        for error in errors.into_iter().chain([config.build().unwrap_err().to_string()]) {
            assert!(error.contains("kafka.set_file") && error.contains(key) && !error.contains("s3cret"), "{error}");
        }
    }
    // Those set in code are shown no more than those that are read.
    let mut config = appmon::config::KafkaConfig::default();
    config.set.insert("sasl.password".to_owned(), "s3cret".to_owned());
    assert!(!format!("{config:?}").contains("s3cret") && serde_json::to_string(&config).is_err());
}

#[test]
fn tables_of_brokers_reach_them() {
    let destination = |text: &str| toml::from_str::<ForwardConfig>(text).unwrap().publish().unwrap().destination();
    for (text, expected) in [
        ("url = \"nats://a,b:1\"\nnats = { subject = \"x.{kind}\" }", "x.{kind}"),
        ("url = \"nats://a\"\nnats = { subject = \"x.{kind}\", core = true }", "x.{kind}"),
        ("url = \"kafka://a\"\nkafka = { topic = \"x.{kind}\" }", "x.{kind}"),
        ("url = \"amqp://a\"\namqp = { exchange = \"xs\", routing_key = \"x.{kind}\" }", "xs x.{kind}"),
        ("url = \"mqtt://a\"\nmqtt = { topic = \"x/{kind}\" }", "x/{kind}"),
        ("url = \"redis://a\"\nredis = { key = \"x:{kind}\" }", "x:{kind}"),
        ("url = \"https://a/x\"\notlp = { gzip = false }", "/v1/metrics"),
    ] {
        let found = destination(text);
        assert!(found.contains(expected), "{found}");
    }
    let wrong = "url = \"http://a\"\notlp = { headers_env = { \"a b\" = \"A\" } }";
    let error = toml::from_str::<ForwardConfig>(wrong).unwrap().build().unwrap_err();
    assert!(error.is_config() && error.to_string().contains("\"a b\""), "{error}");
}

#[tokio::test]
async fn combinators_are_applied() {
    let groups: GroupsConfig = toml::from_str("by = \"name\"\nmax_groups = 0").unwrap();
    let every = std::time::Duration::from_millis(1);
    let tick = groups.apply(Processes::new().every(every)).next().await.unwrap().unwrap();
    assert_eq!((tick.len(), tick.samples[0].by.as_deref()), (1, Some("name")));
    let window: WindowConfig =
        toml::from_str("length = \"1h\"\nfields = [\"threads\"]\nquantiles = [0.5]\nsliding = true").unwrap();
    let ticks = Processes::new().every(every).take(2);
    let windows: Vec<Snapshot<WindowSample>> = window.apply(ticks).try_collect().await.unwrap();
    assert_eq!(windows[0].samples[0].fields.len(), 1);
    assert_eq!(windows[0].samples[0].fields[0].quantiles.len(), 1);
    let alert = toml::from_str::<AlertConfig>("on = \"processes\"\nname = \"alive\"\nrule = \"threads >= 1\"").unwrap();
    let edges = Processes::new().every(every).rates().alert(alert.build().unwrap()).next().await.unwrap().unwrap();
    assert!(edges.samples.iter().all(|edge| &*edge.rule == "alive" && edge.state == AlertState::Firing));
    assert!(!edges.is_empty());
    for by in ["service", "name", "exe", "user", "cgroup", "unit", "container", "pod"] {
        let found: By = serde_json::from_value(by.into()).unwrap();
        assert_eq!((found.as_str(), serde_json::to_value(found).unwrap()), (by, by.into()));
    }
}
