//! What people see of a forwarder while it runs.

use std::time::Duration;

use appmon::forward::Monitor;

/// Prints when forwarding stops working, and when it works again.
pub(crate) async fn watch(program: &str, monitor: Monitor) {
    let mut reported = None;
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let status = monitor.status();
        if status.last_error != reported {
            match &status.last_error {
                Some(error) => eprintln!("{program}: {error}; {} messages wait", status.waiting_messages),
                None => eprintln!("{program}: it works again"),
            }
            reported = status.last_error;
        }
    }
}
