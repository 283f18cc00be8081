//! Memory goes back to the system when the server needs it no more.
//!
//! The allocator of glibc keeps what it was given at its height, for it knows of nothing better to
//! do with it; after a flood of long bodies that is some hundred MiB. The ledger knows when much
//! has come back.

use std::sync::Arc;

use streamcore_server::Driver;

/// Trims the allocator after each great fall of what is held, for as long as the driver lives.
/// Where there is another allocator than that of glibc, nothing is done.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn trim_after_floods(driver: &Arc<Driver>) -> std::io::Result<()> {
    use std::thread::{Builder, sleep};
    use std::time::Duration;

    /// Far more than a busy server's small requests rise and fall by within a second.
    const MIN_BYTES: usize = 16 << 20;
    const INTERVAL: Duration = Duration::from_secs(1);

    let driver = Arc::downgrade(driver);
    let trim = move || {
        let mut num_bytes = 0;
        loop {
            sleep(INTERVAL);
            let Some(driver) = driver.upgrade() else { return };
            num_bytes += driver.ledger().take_bytes_given_back();
            drop(driver);
            if num_bytes >= MIN_BYTES {
                num_bytes = 0;
                // SAFETY: it takes any number, from any thread.
                unsafe { libc::malloc_trim(0) };
            }
        }
    };
    Builder::new().name("streamcore-trim".to_owned()).spawn(trim).map(drop)
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn trim_after_floods(_: &Arc<Driver>) -> std::io::Result<()> {
    Ok(())
}
