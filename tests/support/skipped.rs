//! What a test does that cannot run here.

use std::io::Write;

/// Where `tests/run` collects which tests could not run, and why.
pub const REPORT: &str = "APPMON_TEST_SKIPPED";

/// Whether a test can be done here. Where everything must be (`CI` is set), it fails when it cannot; elsewhere it is reported.
pub fn require(feature: bool, what: &str) -> bool {
    if !feature {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "needed for the tests: {what}");
        report(what);
    }
    feature
}

/// Reports that a test cannot run here: at once on standard error, and to `tests/run`, which shows all of them at its end.
pub fn report(what: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // Written and not printed: what a test prints that passes is shown to nobody.
    let _ = std::io::stderr().write_all(format!("{MARK}{test}: {what}\n").as_bytes());
    if let Some(path) = std::env::var_os(REPORT) {
        let file = std::fs::File::options().append(true).create(true).open(path);
        // In one piece, since several tests write at the same time.
        let _ = file.and_then(|mut file| file.write_all(format!("{test}\t{what}\n").as_bytes()));
    }
}

/// What the line on standard error begins with.
pub const MARK: &str = "skipped: ";
