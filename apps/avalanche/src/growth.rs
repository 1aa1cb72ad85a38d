//! Notices that logs grow, whoever writes them.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::sync::Notify;

/// Bytes of events taken at a time; one is some sixteen.
const EVENTS_BYTES: usize = 4096;

/// A watch over the logs of builds. Without it logs go on at every beat only.
#[derive(Debug)]
pub(crate) struct GrowthWatch {
    /// Nothing where the machine has no watch to give.
    descriptor: Option<Arc<OwnedFd>>,
    grown: Arc<Notify>,
}

impl GrowthWatch {
    pub(crate) fn new() -> GrowthWatch {
        let grown = Arc::new(Notify::new());
        let descriptor = Self::start(&grown)
            .inspect_err(|error| tracing::warn!(%error, "logs are looked at from time to time only"))
            .ok();
        GrowthWatch { descriptor, grown }
    }

    /// Rung when any log has grown.
    pub(crate) fn grown(&self) -> Arc<Notify> {
        Arc::clone(&self.grown)
    }

    /// Watches the log at `path` until it is deleted. Whoever writes it may have begun already, so it counts as grown.
    pub(crate) fn add(&self, path: &Path) {
        let Some(descriptor) = &self.descriptor else { return };
        if let Err(error) = inotify::add_watch(descriptor.as_fd(), path, WatchFlags::MODIFY) {
            tracing::warn!(path = %path.display(), %error, "a log is looked at from time to time only");
        }
        self.grown.notify_one();
    }

    fn start(grown: &Arc<Notify>) -> std::io::Result<Arc<OwnedFd>> {
        let descriptor = Arc::new(inotify::init(CreateFlags::CLOEXEC)?);
        let (source, grown) = (Arc::clone(&descriptor), Arc::clone(grown));
        // It waits for the kernel as long as the agent lives, and ends with it.
        std::thread::Builder::new().name("log-growth".to_owned()).spawn(move || {
            let mut events = [MaybeUninit::uninit(); EVENTS_BYTES];
            loop {
                match rustix::io::read(source.as_fd(), &mut events) {
                    Ok(_) => grown.notify_one(),
                    Err(rustix::io::Errno::INTR) => {}
                    Err(error) => {
                        tracing::error!(%error, "logs are looked at from time to time only");
                        return;
                    }
                }
            }
        })?;
        Ok(descriptor)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_log_that_grows_is_noticed_whoever_writes_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut file = fs_err::File::create(&path).unwrap();
        let watch = GrowthWatch::new();
        watch.add(&path);
        let grown = watch.grown();
        let begin = tokio::time::timeout(Duration::from_secs(10), grown.notified());
        begin.await.expect("what was written before it was watched is looked at");
        for _ in 0..3 {
            file.write_all(b"line\n").unwrap();
            tokio::time::timeout(Duration::from_secs(10), watch.grown().notified()).await.unwrap();
        }
    }
}
