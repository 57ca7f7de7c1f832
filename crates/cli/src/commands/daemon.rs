//! `docent daemon`: models and indexes that stay in memory between commands.

#![allow(clippy::doc_markdown)] // doc comments of options are shown in the terminal as they are

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use docent::OpenOptions;
use docent_server::daemon::{Client, ClientError, Daemon, Status};
use docent_server::{Config, Listen, ModelsConfig, Server, Service};

use super::get::date;
use super::serve::{size, stop};
use crate::console::Console;
use crate::table::Table;
use crate::{daemon, json};

/// Keep models and indexes in memory, so that searches start at once.
///
/// `docent query` and `docent vsearch` use the daemon when it runs, and find the same without it. It listens on a socket that only this user
/// can connect to, and never uses the network.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Start the daemon in the background
    Start(StartArgs),
    /// Stop it when it has done what it is doing
    Stop,
    /// Stop it if it runs, and start it
    Restart(StartArgs),
    /// Tell whether it runs, and what it has in memory
    Status(StatusArgs),
    /// Run it here, until it is told to stop: for systemd and the like
    Run(RunArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct StartArgs {
    /// End after so many minutes without a search
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u64).range(1..=525_600))]
    idle: Option<u64>,
    /// Memory that the models may take together, such as 2GB; the one not used for the longest time is unloaded
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<u64>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    start: StartArgs,
    /// Leave the terminal's session
    #[arg(long, hide = true)]
    detached: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Time for a daemon to come up, or to go.
const PATIENCE: Duration = Duration::from_secs(30);

/// Time between two looks whether it has.
const LOOK: Duration = Duration::from_millis(20);

/// Bytes of the end of its log that are read to say why it has ended.
const TAIL: u64 = 4096;

pub(crate) fn run(command: Command, console: &Console) -> anyhow::Result<()> {
    let socket =
        daemon::socket()?.context("DOCENT_DAEMON says that no daemon is wanted; unset it, or give it a path")?;
    let client = Client::new(&socket);
    match command {
        Command::Start(args) => start(&args, &client, console),
        Command::Stop => match end(&client) {
            Err(error) if is_none(&error) => {
                console.note(error);
                Ok(())
            }
            ended => ended,
        },
        Command::Restart(args) => match end(&client) {
            Err(error) if !is_none(&error) => Err(error),
            _ => start(&args, &client, console),
        },
        Command::Status(args) => status(&args, &client, console),
        Command::Run(args) => serve(&args, socket),
    }
}

/// Whether there is no daemon.
fn is_none(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ClientError::None { .. }))
}

fn start(args: &StartArgs, client: &Client, console: &Console) -> anyhow::Result<()> {
    match client.status() {
        Ok(status) => {
            console.note(format_args!("the daemon runs already, as process {}", status.process));
            return Ok(());
        }
        Err(ClientError::None { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let log = client.path().with_extension("log");
    make_private(client.path())?;
    // Two that start at once would take each other's socket for a stale one.
    let turn = File::create(client.path().with_extension("lock")).context("cannot make the daemon's lock")?;
    turn.lock().context("cannot wait for another start of the daemon")?;
    if let Ok(status) = client.status() {
        console.note(format_args!("the daemon runs already, as process {}", status.process));
        return Ok(());
    }
    let mut child = spawn(args, client.path(), &log)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match client.status() {
            Ok(status) => {
                console.note(format_args!(
                    "the daemon runs, as process {}; its log is {}",
                    status.process,
                    log.display()
                ));
                return Ok(());
            }
            Err(ClientError::None { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(status) = child.try_wait()? {
            bail!("the daemon has ended ({status}): {}", last_line(&log));
        }
        if Instant::now() >= deadline {
            let _ = child.kill();
            bail!("the daemon does not come up; its log is {}", log.display());
        }
        sleep(LOOK);
    }
}

/// Starts this program again, with its output in the log and without a terminal.
fn spawn(args: &StartArgs, socket: &Path, log: &Path) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("this program's own file is not to be found")?;
    let mut command = std::process::Command::new(program);
    // Where the program is an interpreter, what it is told before the command line of docent stays.
    let own: Vec<_> = std::env::args_os().skip(1).collect();
    let before = own.iter().rposition(|arg| arg == "daemon").unwrap_or(0);
    command.args(&own[..before]).args(["daemon", "run", "--detached"]);
    if let Some(idle) = args.idle {
        command.args(["--idle", &idle.to_string()]);
    }
    if let Some(memory) = args.memory {
        command.args(["--memory", &memory.to_string()]);
    }
    let output = File::create(log).with_context(|| format!("cannot write the log {}", log.display()))?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    // Its folder could not be removed or unmounted while it runs.
    command.current_dir("/").env(daemon::VARIABLE, socket);
    command.spawn().context("the daemon cannot be started")
}

/// Makes the socket's folder, which only this user may look into.
fn make_private(socket: &Path) -> anyhow::Result<()> {
    let Some(folder) = socket.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists()) else {
        return Ok(());
    };
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).with_context(|| format!("cannot make the folder {}", folder.display()))
}

fn last_line(log: &Path) -> String {
    let mut tail = Vec::new();
    let read = File::open(log).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        file.read_to_end(&mut tail)
    });
    let text = String::from_utf8_lossy(&tail);
    let line = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it does not say why");
    read.map_or_else(|error| format!("its log cannot be read: {error}"), |_| crate::table::printable(line))
}

/// Tells the daemon to stop, and waits until its socket is gone.
fn end(client: &Client) -> anyhow::Result<()> {
    client.stop()?;
    let deadline = Instant::now() + PATIENCE;
    while !matches!(client.status(), Err(ClientError::None { .. })) {
        ensure!(Instant::now() < deadline, "the daemon has not stopped yet; it still works on a search");
        sleep(LOOK);
    }
    Ok(())
}

fn status(args: &StatusArgs, client: &Client, console: &Console) -> anyhow::Result<()> {
    let status = client.status()?;
    let mut out = console.out();
    if args.json {
        json::write_pretty(&mut out, &status)?;
    } else {
        write!(out, "{}", facts(&status, client.path()))?;
    }
    Ok(())
}

fn facts(status: &Status, socket: &Path) -> Table {
    let mut table = Table::facts();
    table.fact("version", &status.version);
    table.fact("process", status.process);
    table.fact("since", format_args!("{} UTC", date(i64::try_from(status.since).unwrap_or(i64::MAX))));
    table.fact("socket", socket.display());
    status.models.iter().for_each(|model| table.fact("model", model));
    status.indexes.iter().for_each(|index| table.fact("index", index.display()));
    table
}

fn serve(args: &RunArgs, socket: PathBuf) -> anyhow::Result<()> {
    #[cfg(unix)]
    if args.detached {
        // It fails for the leader of a session, which has nothing to leave.
        let _ = rustix::process::setsid();
    }
    make_private(&socket)?;
    let open = OpenOptions { offline: true, ..OpenOptions::default() };
    let models = ModelsConfig { on_demand: true, open, memory: args.start.memory, ..ModelsConfig::default() };
    let config = Config { listen: Listen::Unix(socket), models, ..Config::default() };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no threads for the daemon")?;
    let cut = runtime.block_on(async {
        let service = Service::new(&config);
        service.load().await?;
        let daemon = Daemon::new(service.clone());
        let server = Server::bind(&config, service, daemon.router())?;
        let idle = args.start.idle.map(|minutes| Duration::from_secs(60 * minutes));
        let ended = async {
            let idle = async {
                match idle {
                    Some(time) => daemon.idle_for(time).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop() => {}
                () = daemon.stopped() => {}
                () = idle => tracing::info!(target: "docent_server", "nothing was searched for a while"),
            }
        };
        anyhow::Ok(server.serve(ended).await)
    })?;
    runtime.shutdown_background();
    ensure!(cut == 0, "{cut} connections were cut before their requests were done");
    Ok(())
}
