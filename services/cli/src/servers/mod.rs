//! `muster servers`: the roll.

mod edit;

use clap::Subcommand;
use reqwest::Method;
use shared::clock::Time;
use shared::contract::server::{NewServer, Presence, Server};
use shared::error::Result;
use shared::name::Hostname;

use crate::age;
use crate::document::Document;
use crate::exit::Exit;
use crate::parse::Host;
use crate::plane::Session;
use crate::table::{self, or_dash};
use crate::terminal::Out;

/// Lists the servers; adds, shows, edits and removes one
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  muster servers\n  muster servers --json\n  muster servers add web-1 --group web")]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Adds a server to the roll
    #[command(after_help = "Example:\n  muster servers add web-1 --ip 192.0.2.10 --group web")]
    Add(Add),
    /// Shows one server
    #[command(after_help = "Example:\n  muster servers show web-1")]
    Show(Host),
    /// Changes a server's address or group
    #[command(after_help = "Examples:\n  muster servers edit web-1 --group db\n  muster servers edit web-1 --no-ip")]
    Edit(edit::Args),
    /// Removes a server from the roll; what was not sent to it yet is cancelled
    #[command(after_help = "Example:\n  muster servers remove web-1")]
    Remove(Host),
}

#[derive(clap::Args)]
struct Add {
    #[command(flatten)]
    host: Host,
    /// Its address, for people to read
    #[arg(long)]
    ip: Option<String>,
    /// Its group
    #[arg(long)]
    group: Option<String>,
}

/// Does what is asked.
pub async fn run(args: Args, session: Session) -> Result<Exit> {
    match args.verb {
        None => list(session).await,
        Some(Verb::Add(args)) => add(args, session).await,
        Some(Verb::Show(host)) => show(host, session).await,
        Some(Verb::Edit(args)) => edit::run(args, session).await,
        Some(Verb::Remove(host)) => remove(host, session).await,
    }
}

async fn list(mut session: Session) -> Result<Exit> {
    let servers: Vec<Document<Server>> = session.client.get("/api/servers").await?;
    let header = ["HOSTNAME", "STATUS", "IP", "GROUP", "CPU %", "MEMORY %", "LAST HEARTBEAT"];
    let now = session.now;
    session.show(&servers, |out, servers| table::show(out, header, servers.iter().map(|server| row(server, now))))
}

fn row(server: &Server, now: Time) -> [String; 7] {
    [
        server.hostname.clone(),
        presence(server).to_owned(),
        or_dash(server.ip.as_ref()),
        or_dash(server.group.as_ref()),
        percent(server.cpu_usage),
        percent(server.memory_usage),
        heartbeat(server, now),
    ]
}

fn presence(server: &Server) -> &'static str {
    match server.status {
        Presence::Online => "online",
        Presence::Offline => "offline",
    }
}

fn percent(value: Option<f64>) -> String {
    or_dash(value.map(|value| format!("{value:.1}")))
}

fn heartbeat(server: &Server, now: Time) -> String {
    server.last_heartbeat.map_or_else(|| "never".to_owned(), |at| age::ago(at, now))
}

async fn add(args: Add, mut session: Session) -> Result<Exit> {
    let body = NewServer { hostname: args.host.hostname.to_string(), ip: args.ip, group: args.group };
    let server: Document<Server> = session.client.send(Method::POST, "/api/servers", &body).await?;
    session.show(&server, |out, server| out.line(&format!("added {}", server.hostname)))
}

fn path(hostname: &Hostname) -> String {
    format!("/api/servers/{hostname}")
}

async fn show(host: Host, mut session: Session) -> Result<Exit> {
    let server: Document<Server> = session.client.get(&path(&host.hostname)).await?;
    let now = session.now;
    session.show(&server, |out, server| details(out, server, now))
}

fn details(out: &mut Out, server: &Server, now: Time) -> Result<()> {
    let pairs = [
        ("hostname", server.hostname.clone()),
        ("status", presence(server).to_owned()),
        ("ip", or_dash(server.ip.as_ref())),
        ("group", or_dash(server.group.as_ref())),
        ("CPU %", percent(server.cpu_usage)),
        ("memory %", percent(server.memory_usage)),
        ("last heartbeat", heartbeat(server, now)),
        ("agent version", or_dash(server.agent_version.as_ref())),
    ];
    table::pairs(out, &pairs)?;
    server.warnings.iter().try_for_each(|warning| out.line(&format!("warning: {warning}")))
}

async fn remove(host: Host, mut session: Session) -> Result<Exit> {
    session.client.act(Method::DELETE, &path(&host.hostname)).await?;
    session.done(&format!("removed {}", host.hostname))
}
