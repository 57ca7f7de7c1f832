//! An index of documents for agents, over the Model Context Protocol: the tools `query`, `get`, `multi_get` and `status`, and documents as resources.
//!
//! Names, inputs and outputs are those of qmd, so that an agent which knows that server finds the same here. The protocol itself, with its
//! versions and transports, is the SDK's (`rmcp`).
//!
//! What documents say is data: it stands in fields of its own, its lines are numbered unless a client wants them bare, and
//! no name reaches what is not indexed.

mod http;
mod input;
mod instructions;
mod stdio;
mod text;
mod tools;

use std::sync::Arc;

use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, DiscoverResult, Implementation,
    InitializeRequestParams, InitializeResult, ListResourceTemplatesResult, ListToolsResult, PaginatedRequestParams,
    ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, ResourceTemplate, ServerCapabilities,
    ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::failure::{Failure, FailureKind};
use crate::search::Searcher;
pub(crate) use http::{INVALID_REQUEST, error, routes};
pub use stdio::{McpError, serve, serve_stdio};
use tools::Tool;

/// Calls that are worked on or wait at a time. A search takes milliseconds; a client that has more under way does not wait for answers.
const CALLS: usize = 64;

/// Time for which clients may take the list of tools for the current one, in milliseconds.
const FRESH: u64 = 60_000;

/// The tools over one index. Cheap to clone.
#[derive(Clone)]
struct Handler {
    searcher: Searcher,
    calls: Arc<Semaphore>,
}

impl Handler {
    fn new(searcher: Searcher) -> Self {
        Handler { searcher, calls: Arc::new(Semaphore::new(CALLS)) }
    }

    /// Does the work of a request on a task of its own, so that a defect costs no more than that request. It ends early when the client
    /// takes the request back.
    async fn run<T: Send + 'static>(
        &self,
        context: &RequestContext<RoleServer>,
        work: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Result<T, Failure> {
        let Ok(_turn) = self.calls.try_acquire() else {
            let kind = FailureKind::Overloaded { retry_after: 1 };
            return Err(Failure::new(
                kind,
                format!("{CALLS} calls are worked on, as many as may be at a time; try again"),
            ));
        };
        let mut task = JoinSet::new();
        task.spawn(work);
        match context.ct.run_until_cancelled(task.join_next()).await {
            Some(Some(Ok(result))) => result,
            Some(_) => {
                let message = "the call failed by a defect of the server, please report it";
                Err(Failure::new(FailureKind::Backend, message))
            }
            None => Err(Failure::new(FailureKind::Slow, "the call was taken back")),
        }
    }
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_resources().build();
        let implementation =
            Implementation::new("docent", env!("CARGO_PKG_VERSION")).with_title("Docent document search");
        ServerConfig::new(capabilities).with_server_info(implementation)
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        let result = self.negotiate_initialize(&request)?;
        context.peer.set_peer_info(request);
        Ok(result.with_instructions(instructions::of(&self.searcher).await))
    }

    async fn discover(&self, _: RequestContext<RoleServer>) -> Result<DiscoverResult, ErrorData> {
        let info = self.get_info().with_instructions(instructions::of(&self.searcher).await);
        let versions = self.supported_protocol_versions().into_owned();
        Ok(DiscoverResult::from_server_info(versions, info).with_ttl_ms(FRESH))
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let mut result = ListToolsResult::with_all_items(Tool::ALL.map(Tool::description).to_vec());
        result.ttl_ms = Some(FRESH);
        result.cache_scope = Some(CacheScope::Private);
        Ok(result)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(tool) = Tool::named(&request.name) else {
            let message = format!(
                "no tool is called {}; there are query, get, multi_get and status",
                text::quoted(&request.name)
            );
            return Err(ErrorData::invalid_params(message, None));
        };
        let call = tool.call(self.searcher.clone(), request.arguments.unwrap_or_default());
        let result = self.run(&context, call).await;
        // What is wrong is for the agent to read, which sees results but not errors of the protocol.
        Ok(result.unwrap_or_else(|failure| CallToolResult::error(vec![ContentBlock::text(failure.message)])).into())
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let template = ResourceTemplate::new("qmd://{+path}", "document")
            .with_title("Document")
            .with_description("A document of the index by its collection and path, with the number of each line")
            .with_mime_type("text/markdown");
        Ok(ListResourceTemplatesResult::with_all_items(vec![template]))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let work = tools::read(self.searcher.clone(), request.uri);
        match self.run(&context, work).await {
            Ok(contents) => Ok(ReadResourceResult::new(vec![contents]).into()),
            Err(failure) => Err(match failure.kind {
                FailureKind::NotFound => ErrorData::resource_not_found(failure.message, None),
                FailureKind::Backend | FailureKind::Slow | FailureKind::Overloaded { .. } => {
                    ErrorData::internal_error(failure.message, None)
                }
                _ => ErrorData::invalid_params(failure.message, None),
            }),
        }
    }
}
