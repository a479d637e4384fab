//! The JSON Schema of the wire form, for consumers in other languages, and of settings.
//!
//! The same texts are in the folder `schema` of the repository. They describe the output of this crate. A reader should ignore
//! unknown fields, since a later version may add fields without changing the [`schema`](crate::stream::Record) number.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::marker::PhantomData;

use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::cgroup::{ControlGroupEvent, ControlGroupSample};
use crate::events::ProcessEvent;
use crate::machine::MachineSample;
use crate::own::OwnSample;
use crate::process::Summary;
use crate::stream::{Change, GroupSample, Record};
use crate::wire::{self, Delta, Link, Piece};
use crate::{Counters, FileSystemSample, ProcessSample, Rated, Sample, Snapshot, Text};

/// Returns the schema of each wire type, as indented JSON (draft 2020-12), by its name.
///
/// The names for each kind of sample, here `process`: `process-record` is one sample as a line (or as a message of its own),
/// `process-snapshot` a whole tick, and `process-message` a tick as a message to a broker. `process-changes` holds the changes of a
/// tick, `process-changes-message` the same as a message, and `process-change-record` one change as a line. Names with the prefix
/// `rated-` are for samples with rates. The key of a `group` is a text there; where a program groups by another type, it is the JSON
/// form of that type.
///
/// With the feature `config` there are the settings as well: `config-processes`, `config-forward` and others, each a table of
/// `config`.
///
/// ```
/// let schemas = appmon::schema::all();
/// assert!(schemas["process-record"].contains("\"start_ticks\""));
/// ```
#[must_use]
pub fn all() -> BTreeMap<String, String> {
    let mut schemas = BTreeMap::new();
    of_kind::<ProcessSample>(&mut schemas, "process");
    of_rated::<ProcessSample>(&mut schemas, "process");
    of_kind::<FileSystemSample>(&mut schemas, "file-system");
    of_rated::<FileSystemSample>(&mut schemas, "file-system");
    of_kind::<OwnSample>(&mut schemas, "own-process");
    of_rated::<OwnSample>(&mut schemas, "own-process");
    of_kind::<MachineSample>(&mut schemas, "machine");
    of_rated::<MachineSample>(&mut schemas, "machine");
    of_event::<ProcessEvent>(&mut schemas, "process-event");
    of_kind::<ControlGroupSample>(&mut schemas, "control-group");
    of_rated::<ControlGroupSample>(&mut schemas, "control-group");
    of_event::<ControlGroupEvent>(&mut schemas, "control-group-event");
    of_kind::<GroupSample<Text>>(&mut schemas, "group");
    of_rated::<GroupSample<Text>>(&mut schemas, "group");
    add::<Summary>(&mut schemas, "process-summary".to_owned());
    #[cfg(feature = "config")]
    settings(&mut schemas);
    schemas
}

/// Adds the schemas of the settings.
#[cfg(feature = "config")]
fn settings(schemas: &mut BTreeMap<String, String>) {
    use crate::config;

    add_settings::<config::ProcessesConfig>(schemas, "config-processes");
    add_settings::<config::ProcessEventsConfig>(schemas, "config-process-events");
    add_settings::<config::OwnProcessConfig>(schemas, "config-own-process");
    add_settings::<config::FileSystemsConfig>(schemas, "config-file-systems");
    add_settings::<config::GroupsConfig>(schemas, "config-groups");
    add_settings::<config::WindowConfig>(schemas, "config-window");
    add_settings::<config::AlertConfig>(schemas, "config-alert");
    #[cfg(feature = "prometheus")]
    add_settings::<config::PrometheusConfig>(schemas, "config-prometheus");
    #[cfg(feature = "forward")]
    add_settings::<config::ForwardConfig>(schemas, "config-forward");
}

/// Events do not change, so there are no changes of them.
fn of_event<T: Sample + JsonSchema>(schemas: &mut BTreeMap<String, String>, kind: &str) {
    add::<Record<T>>(schemas, format!("{kind}-record"));
    add::<Snapshot<T>>(schemas, format!("{kind}-snapshot"));
    add::<Message<T>>(schemas, format!("{kind}-message"));
}

fn of_kind<T: Sample + JsonSchema>(schemas: &mut BTreeMap<String, String>, kind: &str) {
    of_event::<T>(schemas, kind);
    add::<Snapshot<Change<T>>>(schemas, format!("{kind}-changes"));
    add::<Message<Change<T>>>(schemas, format!("{kind}-changes-message"));
    add::<Record<Change<T>>>(schemas, format!("{kind}-change-record"));
}

fn of_rated<T: Counters + JsonSchema>(schemas: &mut BTreeMap<String, String>, kind: &str)
where
    T::Rates: JsonSchema,
{
    add::<Record<Rated<T>>>(schemas, format!("rated-{kind}-record"));
    add::<Snapshot<Rated<T>>>(schemas, format!("rated-{kind}-snapshot"));
    add::<Message<Rated<T>>>(schemas, format!("rated-{kind}-message"));
}

fn add<T: JsonSchema>(schemas: &mut BTreeMap<String, String>, name: String) {
    // The schema of the output, which is narrower than the accepted input.
    add_by::<T>(schemas, name, SchemaSettings::draft2020_12().for_serialize());
}

/// Settings are read.
#[cfg(feature = "config")]
fn add_settings<T: JsonSchema>(schemas: &mut BTreeMap<String, String>, name: &str) {
    add_by::<T>(schemas, name.to_owned(), SchemaSettings::draft2020_12().for_deserialize());
}

fn add_by<T: JsonSchema>(schemas: &mut BTreeMap<String, String>, name: String, settings: SchemaSettings) {
    let generator = settings.with_transform(PlainText).into_generator();
    let mut schema = generator.into_root_schema_for::<T>();
    schema.insert("title".to_owned(), name.as_str().into());
    schemas.insert(name, format!("{:#}\n", schema.as_value()));
}

/// The wire form of a snapshot as a message, as `forward::Encoder` writes it.
#[derive(JsonSchema)]
struct SnapshotMessage<T> {
    /// The version of the wire form.
    #[serde(rename = "schema")]
    _schema: u32,
    /// The kind of the samples.
    #[serde(rename = "kind")]
    _kind: String,
    /// The name of the stream; the kind where it has none.
    #[serde(rename = "stream")]
    _stream: String,
    #[serde(flatten)]
    _snapshot: Snapshot<T>,
    /// The place of the snapshot in a chain of snapshots, of which the first is whole and the others have what changed since the one
    /// before, if the sender sends only what changed.
    #[serde(rename = "chain", skip_serializing_if = "Option::is_none")]
    _chain: Option<Link>,
    /// What changed since the snapshot before it in the chain. Without it the message is a whole snapshot.
    #[serde(rename = "delta", skip_serializing_if = "Option::is_none")]
    _delta: Option<Delta>,
    /// The number of this part, from 0, if the snapshot was too large for one message.
    #[serde(rename = "part", skip_serializing_if = "Option::is_none")]
    _part: Option<u32>,
    /// Whether it is the last part. The parts have consecutive ids.
    #[serde(rename = "last", skip_serializing_if = "Option::is_none")]
    _last: Option<bool>,
    /// The range of samples in this piece, if the message was too large for the broker and was sent in pieces. Each piece has the id of
    /// the message, followed by this range.
    #[serde(rename = "piece", skip_serializing_if = "Option::is_none")]
    _piece: Option<Piece>,
}

/// A [`SnapshotMessage`] with the values of `schema` and `kind`.
struct Message<T>(PhantomData<T>);

impl<T: Sample + JsonSchema> JsonSchema for Message<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("Message_of_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = SnapshotMessage::<T>::json_schema(generator);
        schema.insert(
            "description".to_owned(),
            "A snapshot, or what changed since the one before it, or a part of these, as a message to a broker.".into(),
        );
        wire::describe::<T>(&mut schema);
        schema
    }
}

/// Turns the documentation of Rust items into plain text.
#[derive(Clone)]
struct PlainText;

impl Transform for PlainText {
    fn transform(&mut self, schema: &mut Schema) {
        if let Some(text) = schema.get("description").and_then(|text| text.as_str()) {
            let text = plain(text);
            schema.insert("description".to_owned(), text.into());
        }
        transform_subschemas(self, schema);
    }
}

/// Removes examples, line ends within a paragraph, and targets of links.
fn plain(doc: &str) -> String {
    let prose = doc.split("\n\n```").next().unwrap_or_default();
    let paragraphs: Vec<_> = prose.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect();
    let linked = paragraphs.join("\n\n");
    let mut text = String::with_capacity(linked.len());
    let mut rest = linked.as_str();
    while let Some((before, label, after)) = next_link(rest) {
        text.push_str(before);
        text.push_str(label);
        rest = after;
    }
    text.push_str(rest);
    text
}

/// Returns the text before the first link, its label, and the text after it.
fn next_link(text: &str) -> Option<(&str, &str, &str)> {
    for (open, _) in text.match_indices('[') {
        let (before, link) = text.split_at_checked(open)?;
        let (label, after) = link.strip_prefix('[')?.split_once(']')?;
        if let Some((_, after)) = after.strip_prefix('(').and_then(|target| target.split_once(')')) {
            return Some((before, label, after));
        }
        if label.len() > 1 && label.starts_with('`') && label.ends_with('`') {
            return Some((before, label, after));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn prose_of_documentation() {
        assert_eq!(
            plain("One\nline; see [`Record`].\n\nMore.\n\n```\nlet a;\n```\n"),
            "One line; see `Record`.\n\nMore."
        );
        assert_eq!(plain("[`a`](crate::A::a), [b](c) and `pid:[7]` [`d`]"), "`a`, b and `pid:[7]` `d`");
        assert_eq!(plain("[ [`"), "[ [`");
    }
}
