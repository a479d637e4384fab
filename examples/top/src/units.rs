//! Numbers as people read them, in few columns.

use std::time::Duration;

use appmon::Timestamp;

/// A size in at most 7 columns: `12.3 M`, in units of 1024.
pub(crate) fn size(bytes: f64) -> String {
    let mut number = bytes;
    let mut unit = "B";
    for larger in ["K", "M", "G", "T", "P", "E"] {
        if number < 999.5 {
            break;
        }
        (number, unit) = (number / 1024.0, larger);
    }
    let decimals = usize::from(unit != "B" && number < 99.95);
    format!("{number:.decimals$} {unit}")
}

/// A size in 7 columns; nothing to speak of is a dot, and an unknown one a dash.
pub(crate) fn size_or_dash(bytes: Option<f64>) -> String {
    match bytes {
        None => "-".to_owned(),
        Some(bytes) if bytes < 0.5 => "·".to_owned(),
        Some(bytes) => size(bytes),
    }
}

/// Cores as a percentage of one, in at most 6 columns.
pub(crate) fn percent(cores: Option<f64>) -> String {
    match cores.map(|cores| cores * 100.0) {
        None => "-".to_owned(),
        Some(percent) if percent < 0.05 => "·".to_owned(),
        Some(percent) if percent < 999.95 => format!("{percent:.1}"),
        Some(percent) => format!("{percent:.0}"),
    }
}

/// A duration by its largest unit: `3h`, `12d`.
pub(crate) fn about(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..=99 => format!("{seconds}s"),
        100..=5_999 => format!("{}m", seconds / 60),
        6_000..=172_799 => format!("{}h", seconds / 3_600),
        172_800..=63_071_999 => format!("{}d", seconds / 86_400),
        _ => format!("{}y", seconds / 31_536_000),
    }
}

/// The time of day in UTC, to the second.
pub(crate) fn time_of_day(time: Timestamp) -> String {
    let text = time.to_string();
    text.split_once('T').and_then(|(_, time)| time.get(..8)).unwrap_or_default().to_owned()
}

/// Date and time in UTC, to the second.
pub(crate) fn date_and_time(time: Timestamp) -> String {
    let text = time.to_string();
    text.get(..19).map(|text| text.replace('T', " ")).unwrap_or_default()
}

/// Eighths of a bar, from empty to full.
const EIGHTHS: [char; 9] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

/// A bar of so many columns.
pub(crate) fn bar(fraction: f64, columns: usize) -> String {
    let eighths = (fraction.clamp(0.0, 1.0) * (columns * 8) as f64).round() as usize;
    (0..columns).map(|column| EIGHTHS[eighths.saturating_sub(column * 8).min(8)]).collect()
}

/// Values as a line, the last one on the right. A value that is not known leaves a gap.
pub(crate) fn spark(values: impl DoubleEndedIterator<Item = Option<f64>>, most: f64, columns: usize) -> String {
    const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let step = |value: f64| STEPS[((value / most.max(1e-9)).clamp(0.0, 1.0) * 7.0).round() as usize];
    let mut line: Vec<char> = values.rev().take(columns).map(|value| value.map_or(' ', step)).collect();
    line.resize(columns, ' ');
    line.into_iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fit_their_columns() {
        for (bytes, text) in
            [(0.0, "0 B"), (999.0, "999 B"), (1000.0, "1.0 K"), (1e6, "977 K"), (1.5e9, "1.4 G"), (1e18, "888 P")]
        {
            assert_eq!(size(bytes), text);
        }
        assert!((0..60).all(|power| size(2_f64.powi(power)).len() <= 7));
        assert_eq!(
            [percent(None), percent(Some(0.0)), percent(Some(1.234)), percent(Some(64.0))],
            ["-", "·", "123.4", "6400"]
        );
        assert_eq!((bar(0.5, 3).as_str(), bar(2.0, 2).as_str(), bar(0.0, 2).as_str()), ("█▌ ", "██", "  "));
        assert_eq!(spark([Some(0.0), None, Some(1.0)].into_iter(), 1.0, 4), " ▁ █");
    }
}
