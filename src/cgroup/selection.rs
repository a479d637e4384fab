//! Which control groups are reported.

use std::ops::RangeInclusive;

use super::ControlGroupInfo;
use crate::glob::GlobSet;
use crate::{Error, Result};

/// The conditions of a source of control groups; all of them must hold.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    include: GlobSet,
    exclude: GlobSet,
    units: Option<GlobSet>,
    pub(super) containers: bool,
    pub(super) services: bool,
    pub(super) depth: RangeInclusive<u32>,
}

impl Default for Selection {
    fn default() -> Self {
        let (include, exclude) = (GlobSet::default(), GlobSet::default());
        Self { include, exclude, units: None, containers: false, services: false, depth: 0..=u32::MAX }
    }
}

impl Selection {
    pub(super) fn include(&mut self, setting: &str, globs: impl IntoIterator<Item = impl AsRef<str>>) -> Result<()> {
        add(&mut self.include, setting, globs)
    }

    pub(super) fn exclude(&mut self, setting: &str, globs: impl IntoIterator<Item = impl AsRef<str>>) -> Result<()> {
        add(&mut self.exclude, setting, globs)
    }

    pub(super) fn units(&mut self, setting: &str, globs: impl IntoIterator<Item = impl AsRef<str>>) -> Result<()> {
        add(self.units.get_or_insert_default(), setting, globs)
    }

    /// Fails where no group can be meant.
    pub(super) fn check(&self, source: &str) -> Result<()> {
        if self.depth.is_empty() {
            let (first, last) = (self.depth.start(), self.depth.end());
            return Err(Error::config(format!("{source}::depth({first}..={last}): no group is that deep")));
        }
        Ok(())
    }

    /// Whether groups below one of this depth can be selected.
    pub(super) fn goes_below(&self, depth: u32) -> bool {
        depth < *self.depth.end()
    }

    pub(super) fn includes(
        &self,
        path: &[u8],
        depth: u32,
        info: &ControlGroupInfo,
        above: Option<&ControlGroupInfo>,
    ) -> bool {
        self.depth.contains(&depth)
            && (self.include.is_empty() || self.include.matches(path))
            && !self.exclude.matches(path)
            && self.includes_service(info, above)
    }

    /// A unit or a container is the outermost group that has its name: those below are parts of it.
    fn includes_service(&self, info: &ControlGroupInfo, above: Option<&ControlGroupInfo>) -> bool {
        if !self.services && !self.containers && self.units.is_none() {
            return true;
        }
        let nothing = ControlGroupInfo::default();
        let above = above.unwrap_or(&nothing);
        let is_container = info.container.is_some() && info.container != above.container;
        let own_units = [(&info.unit, &above.unit), (&info.user_unit, &above.user_unit)];
        let own_units = || own_units.iter().filter(|(own, above)| own != above).filter_map(|(own, _)| own.as_ref());
        let is_named = |globs: &GlobSet| own_units().any(|unit| globs.matches(unit.as_bytes()));
        (self.services && (is_container || own_units().next().is_some()))
            || (self.containers && is_container)
            || self.units.as_ref().is_some_and(is_named)
    }
}

fn add(set: &mut GlobSet, setting: &str, globs: impl IntoIterator<Item = impl AsRef<str>>) -> Result<()> {
    for glob in globs {
        let glob = glob.as_ref();
        set.add(glob).map_err(|why| Error::config(format!("{setting}: glob `{glob}`: {why}")))?;
    }
    Ok(())
}
