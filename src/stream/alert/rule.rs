//! A rule: a condition that must hold for some time, and one that ends the alert.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A rule for [`alert`](crate::SnapshotStreamExt::alert), over samples of type `T`, made in code or parsed from text.
///
/// As text it names fields of the [field table](crate::measured::FieldTable) of `T` by their path or alias:
///
/// ```text
/// cpu.cores > 0.8 for 30s
/// cpu.cores > 0.8 for 30s, until cpu.cores < 0.5 for 10s
/// used_fraction >= 90% and free_bytes < 10 GiB for 5m
/// ```
///
/// A condition is one comparison (`>`, `>=`, `<`, `<=`) of a field with a number in its unit, or several with `and` between them.
/// `for` is the time it must hold before the alert is firing. `until` is followed by the condition that ends the alert, with a `for` of
/// its own. Without `until` the alert ends when its condition no longer holds. Time is that of the snapshots.
///
/// A text outside this grammar, a field that does not exist, or a number in another unit is an error
/// ([`Error::is_config`](crate::Error::is_config)) that shows the place.
///
/// ```
/// use appmon::stream::Alert;
/// use appmon::{ProcessSample, Rated};
///
/// let busy: Alert<Rated<ProcessSample>> = "cpu.cores > 0.8 for 30s, until cpu.cores < 0.5 for 10s".parse()?;
/// let error = "cpu.cors > 0.8".parse::<Alert<Rated<ProcessSample>>>().unwrap_err();
/// assert!(error.to_string().contains("did you mean `cpu.cores`?"));
/// # Ok::<(), appmon::Error>(())
/// ```
pub struct Alert<T> {
    pub(super) name: Arc<str>,
    pub(super) raise: Condition<T>,
    pub(super) hold: Duration,
    pub(super) clear: Option<Condition<T>>,
    pub(super) clear_hold: Duration,
}

/// A value or condition of a sample; `None` if it is unknown.
pub(super) type Ask<T, A> = Arc<dyn Fn(&T) -> Option<A> + Send + Sync>;

/// A condition: whether it holds, or `None` if that is unknown.
pub(super) struct Condition<T> {
    pub(super) holds: Ask<T, bool>,
    /// The value of its first field.
    pub(super) value: Option<Ask<T, f64>>,
}

impl<T> Alert<T> {
    /// Returns a rule with this name that fires while the condition holds; the condition returns `None` if it cannot be decided.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use appmon::stream::Alert;
    /// use appmon::{ProcessSample, Rated};
    ///
    /// let many = Alert::when("many threads", |process: &Rated<ProcessSample>| Some(process.threads > 500))
    ///     .hold(Duration::from_secs(30))
    ///     .until(|process| Some(process.threads < 400));
    /// ```
    pub fn when(name: impl Into<Arc<str>>, holds: impl Fn(&T) -> Option<bool> + Send + Sync + 'static) -> Self {
        Self {
            name: name.into(),
            raise: Condition { holds: Arc::new(holds), value: None },
            hold: Duration::ZERO,
            clear: None,
            clear_hold: Duration::ZERO,
        }
    }

    /// Sets how long the condition must hold before the alert fires. Default: zero.
    #[must_use]
    pub fn hold(mut self, time: Duration) -> Self {
        self.hold = time;
        self
    }

    /// Sets the condition that ends the alert. Default: the first condition does not hold.
    #[must_use]
    pub fn until(mut self, holds: impl Fn(&T) -> Option<bool> + Send + Sync + 'static) -> Self {
        self.clear = Some(Condition { holds: Arc::new(holds), value: None });
        self
    }

    /// Sets how long the condition that ends the alert must hold. Default: zero.
    #[must_use]
    pub fn clear_hold(mut self, time: Duration) -> Self {
        self.clear_hold = time;
        self
    }

    /// Sets the name. Default: the text of the rule.
    #[must_use]
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }

    pub(super) fn raises(&self, sample: &T) -> Option<bool> {
        (self.raise.holds)(sample)
    }

    pub(super) fn clears(&self, sample: &T) -> Option<bool> {
        match &self.clear {
            Some(clear) => (clear.holds)(sample),
            None => self.raises(sample).map(|raises| !raises),
        }
    }

    pub(super) fn value(&self, sample: &T) -> Option<f64> {
        self.raise.value.as_ref().and_then(|value| value(sample))
    }
}

impl<T> Clone for Condition<T> {
    fn clone(&self) -> Self {
        Self { holds: Arc::clone(&self.holds), value: self.value.clone() }
    }
}

impl<T> Clone for Alert<T> {
    fn clone(&self) -> Self {
        let Self { name, raise, hold, clear, clear_hold } = self;
        Self { name: name.clone(), raise: raise.clone(), hold: *hold, clear: clear.clone(), clear_hold: *clear_hold }
    }
}

impl<T> fmt::Debug for Alert<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alert")
            .field("name", &self.name)
            .field("hold", &self.hold)
            .field("clear_hold", &self.clear_hold)
            .finish_non_exhaustive()
    }
}
