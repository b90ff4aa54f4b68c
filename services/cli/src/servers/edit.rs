//! `muster servers edit`.

use clap::ArgGroup;
use reqwest::Method;
use serde_json::{Map, Value};
use shared::contract::server::Server;
use shared::error::Result;

use super::{details, path};
use crate::document::Document;
use crate::exit::Exit;
use crate::parse::Host;
use crate::plane::Session;

/// What to change.
#[derive(clap::Args)]
#[command(group(ArgGroup::new("change").required(true).multiple(true).args(["ip", "no_ip", "group", "no_group"])))]
pub struct Args {
    #[command(flatten)]
    host: Host,
    /// Its new address
    #[arg(long, conflicts_with = "no_ip")]
    ip: Option<String>,
    /// Forget its address
    #[arg(long)]
    no_ip: bool,
    /// Its new group
    #[arg(long, conflicts_with = "no_group")]
    group: Option<String>,
    /// Take it out of its group
    #[arg(long)]
    no_group: bool,
}

/// Changes it.
pub async fn run(args: Args, mut session: Session) -> Result<Exit> {
    let server: Document<Server> =
        session.client.send(Method::PATCH, &path(&args.host.hostname), &changes(&args)).await?;
    let now = session.now;
    session.show(&server, |out, server| details(out, server, now))
}

/// The fields to change and no other: an absent one stays, `null` empties it.
fn changes(args: &Args) -> Map<String, Value> {
    let fields = [("ip", &args.ip, args.no_ip), ("group", &args.group, args.no_group)];
    let changed = fields.into_iter().filter(|(_, value, empty)| value.is_some() || *empty);
    changed.map(|(name, value, _)| (name.to_owned(), Value::from(value.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_changes() {
        let edit = |ip: Option<&str>, no_ip, no_group| Args {
            host: Host { hostname: shared::name::Hostname::parse("a", "a").unwrap() },
            ip: ip.map(ToOwned::to_owned),
            no_ip,
            group: None,
            no_group,
        };
        let json = |edit: Args| serde_json::to_string(&changes(&edit)).unwrap();
        assert_eq!(json(edit(Some("192.0.2.1"), false, false)), r#"{"ip":"192.0.2.1"}"#);
        assert_eq!(json(edit(None, true, true)), r#"{"group":null,"ip":null}"#);
    }
}
