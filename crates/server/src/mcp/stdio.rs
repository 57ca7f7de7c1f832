//! The tools for one client that has started this process, on its standard input and output.

use rmcp::service::{QuitReason, ServerInitializeError};
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::transport::stdio;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Handler;
use crate::search::Searcher;

/// Bytes of a message. A longer one is passed over, with a line in the log.
const LONGEST_LINE: usize = 4 << 20;

/// Why a client could not be served to its end.
#[derive(Debug, thiserror::Error)]
pub enum McpError {
    /// It did not begin as the protocol does.
    #[error("the client did not begin as MCP does: {0}; expected the request `initialize`")]
    Begin(String),
    /// The service of the SDK ended by a defect.
    #[error("the service of the client ended: {0}")]
    Service(String),
}

/// Serves one client on this process's standard input and output until it closes the input. What it has asked by then is answered, for
/// at most five seconds. Nothing else may write to the standard output meanwhile.
///
/// # Errors
/// A client that does not begin as the protocol does.
pub async fn serve_stdio(searcher: Searcher) -> Result<(), McpError> {
    let (input, output) = stdio();
    serve(searcher, input, output).await
}

/// The same over any pair of streams: JSON-RPC, a message a line.
///
/// # Errors
/// As [`serve_stdio`].
pub async fn serve(
    searcher: Searcher,
    input: impl AsyncRead + Send + Unpin + 'static,
    output: impl AsyncWrite + Send + Unpin + 'static,
) -> Result<(), McpError> {
    let transport = AsyncRwTransport::new_server(input, output).with_max_line_length(LONGEST_LINE);
    let running = match rmcp::serve_server(Handler::new(searcher), transport).await {
        Ok(running) => running,
        // It has gone, or had only looked whether anyone is there.
        Err(ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(error) => return Err(McpError::Begin(crate::body::shortened(&error.to_string()))),
    };
    match running.waiting().await {
        Ok(QuitReason::JoinError(error)) | Err(error) => Err(McpError::Service(error.to_string())),
        Ok(_) => Ok(()),
    }
}
