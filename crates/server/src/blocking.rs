//! Work that takes long enough to hold up connections, beside the threads that serve them.

use crate::failure::{Failure, FailureKind};

/// Tokenizes where it holds up no connection.
///
/// # Errors
/// What the work fails with; a panic in it is the failure of this request alone.
pub(crate) async fn off_the_reactor<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, Failure>
where
    T: Send + 'static,
    E: Into<Failure> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Into::into),
        Err(error) => Err(Failure::new(FailureKind::Backend, format!("tokenizing failed: {error}"))),
    }
}

/// Tokenizes small requests on the spot, which takes some microseconds, and large ones where they hold up no connection.
///
/// # Errors
/// As [`off_the_reactor`].
pub(crate) async fn beside_the_reactor<T, E>(
    bytes: usize,
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Failure>
where
    T: Send + 'static,
    E: Into<Failure> + Send + 'static,
{
    const SMALL: usize = 8 << 10;
    if bytes <= SMALL { work().map_err(Into::into) } else { off_the_reactor(work).await }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_failure_of_the_server() {
        let panics = || -> Result<(), Failure> { panic!("on purpose") };
        assert_eq!(off_the_reactor(panics).await.unwrap_err().kind, FailureKind::Backend);
        let fails = || Err::<(), _>(Failure::invalid("ids", "no such token"));
        assert_eq!(off_the_reactor(fails).await.unwrap_err().kind, FailureKind::Invalid);
    }
}
