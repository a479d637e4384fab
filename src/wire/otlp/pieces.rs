//! Requests that are too large for a receiver, in pieces.

use std::ops::Range;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint};
use prost::Message;

use crate::wire::{Form, Piece};

/// The tag and the length of a field inside of another, at most.
const AROUND: usize = 12;

/// Returns a request in pieces of up to `limit` bytes, each with at least one data point or record, by which a piece counts. `whole` is
/// the piece that the request is. `None` if it was not written by this crate.
pub(crate) fn pieces(form: Form, payload: &[u8], limit: usize, whole: Option<Piece>) -> Option<Vec<(Piece, Vec<u8>)>> {
    match form {
        Form::Snapshot => pieces_of_metrics(payload, limit, whole),
        Form::Samples => pieces_of_logs(payload, limit, whole),
        Form::Delta => None,
    }
}

fn pieces_of_metrics(payload: &[u8], limit: usize, whole: Option<Piece>) -> Option<Vec<(Piece, Vec<u8>)>> {
    let mut shell = ExportMetricsServiceRequest::decode(payload).ok()?;
    let scope = shell.resource_metrics.first_mut()?.scope_metrics.first_mut()?;
    let mut points: Vec<(usize, NumberDataPoint)> = Vec::new();
    let mut metrics = Vec::new();
    for mut metric in std::mem::take(&mut scope.metrics) {
        let own = std::mem::take(data_points(&mut metric)?);
        points.extend(own.into_iter().map(|point| (metrics.len(), point)));
        metrics.push(metric);
    }
    let sizes: Vec<usize> = points.iter().map(|(_, point)| point.encoded_len().saturating_add(AROUND)).collect();
    let heads: Vec<usize> = metrics.iter().map(|metric| metric.encoded_len().saturating_add(AROUND)).collect();
    let mut last = None;
    let mut size = |at: usize, is_first: bool| {
        let metric = points.get(at).map(|(metric, _)| *metric);
        let begins = is_first || metric != last;
        last = metric;
        let head = metric.filter(|_| begins).and_then(|metric| heads.get(metric)).copied().unwrap_or(0);
        sizes.get(at).copied().unwrap_or(0).saturating_add(head)
    };
    let groups = groups(points.len(), shell.encoded_len(), limit, &mut size);
    let payload = |range: Range<usize>| {
        let mut request = shell.clone();
        let mut now = None;
        let scope = request.resource_metrics.first_mut()?.scope_metrics.first_mut()?;
        for (metric, point) in points.get(range)? {
            if now != Some(*metric) {
                scope.metrics.push(metrics.get(*metric)?.clone());
                now = Some(*metric);
            }
            data_points(scope.metrics.last_mut()?)?.push(point.clone());
        }
        Some(request.encode_to_vec())
    };
    numbered(groups, whole, payload)
}

fn data_points(metric: &mut Metric) -> Option<&mut Vec<NumberDataPoint>> {
    match metric.data.as_mut()? {
        Data::Sum(sum) => Some(&mut sum.data_points),
        Data::Gauge(gauge) => Some(&mut gauge.data_points),
        _ => None,
    }
}

fn pieces_of_logs(payload: &[u8], limit: usize, whole: Option<Piece>) -> Option<Vec<(Piece, Vec<u8>)>> {
    let mut shell = ExportLogsServiceRequest::decode(payload).ok()?;
    let records = std::mem::take(&mut shell.resource_logs.first_mut()?.scope_logs.first_mut()?.log_records);
    let mut size = |at: usize, _| records.get(at).map_or(0, |record| record.encoded_len().saturating_add(AROUND));
    let groups = groups(records.len(), shell.encoded_len(), limit, &mut size);
    let payload = |range: Range<usize>| {
        let mut request = shell.clone();
        let scope = request.resource_logs.first_mut()?.scope_logs.first_mut()?;
        scope.log_records = records.get(range)?.to_vec();
        Some(request.encode_to_vec())
    };
    numbered(groups, whole, payload)
}

/// Returns ranges whose sizes fit, after a shell of `least` bytes. `size` is asked once for each, and again for the first of a range.
fn groups(count: usize, least: usize, limit: usize, size: &mut dyn FnMut(usize, bool) -> usize) -> Vec<Range<usize>> {
    let least = least.saturating_add(AROUND.saturating_mul(2));
    let mut groups = Vec::new();
    let (mut from, mut bytes) = (0, least);
    for at in 0..count {
        bytes = bytes.saturating_add(size(at, at == from));
        if at > from && bytes > limit {
            groups.push(from..at);
            (from, bytes) = (at, least.saturating_add(size(at, true)));
        }
    }
    groups.push(from..count);
    groups
}

fn numbered(
    groups: Vec<Range<usize>>,
    whole: Option<Piece>,
    payload: impl Fn(Range<usize>) -> Option<Vec<u8>>,
) -> Option<Vec<(Piece, Vec<u8>)>> {
    let count = groups.last()?.end;
    let (from, of) = match whole {
        Some(piece) => (piece.from, piece.of),
        None => (0, u32::try_from(count).ok()?),
    };
    let at = |index: usize| from.checked_add(u32::try_from(index).ok()?);
    let piece = |range: Range<usize>| {
        let piece = Piece::new(at(range.start)?, at(range.end)?, of)?;
        Some((piece, payload(range)?))
    };
    groups.into_iter().map(piece).collect()
}
