//! Being told to stop.

/// Returns when the process is told to stop: by SIGINT or SIGTERM, or Ctrl-C where there are no signals.
pub(crate) async fn stop() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => (),
            _ = terminate.recv() => (),
        }
    }
    #[cfg(not(unix))]
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Calls `first` when the process is told to stop, from a thread of its own; told a second time, the process ends at once.
pub(crate) fn on_stop(first: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            stop().await;
            first();
            stop().await;
            #[allow(clippy::exit)] // as the signal would have
            std::process::exit(1);
        });
    })?;
    Ok(())
}
