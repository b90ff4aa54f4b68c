//! Every setting by name. A program reads no setting that is not in this catalogue, and
//! `docs/configuration.md` is written from it, so none goes undocumented.

/// A setting: `MUSTER_…` in the environment, or the same name in the file that [`CONFIG`] names.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// The programs that read it.
    pub read_by: &'static [&'static str],
    /// What counts when it is absent; `None` when nothing does.
    pub default: Option<&'static str>,
    /// It must not be shown; its value may also come from the file that `NAME_FILE` names.
    pub is_secret: bool,
    /// What it means, in one sentence.
    pub meaning: &'static str,
}

impl Key {
    /// Whether this is its name, or names the file of a secret.
    pub fn is_called(&self, name: &str) -> bool {
        name == self.name || (self.is_secret && name.strip_suffix("_FILE") == Some(self.name))
    }
}

macro_rules! keys {
    ($($(#[secret $secret:tt])? $key:ident = $name:literal, $read_by:expr, $default:expr, $meaning:literal;)*) => {
        $(
            #[doc = $meaning]
            pub const $key: Key = Key {
                name: $name,
                read_by: $read_by,
                default: $default,
                is_secret: false $(|| $secret)?,
                meaning: $meaning,
            };
        )*

        /// All of them, in the order in which the docs show them.
        pub const ALL: &[Key] = &[$($key),*];
    };
}

/// Variables that are no settings of a service, by name and meaning: the command line `muster` reads
/// them, or Muster sets them for others.
pub const ELSEWHERE: &[(&str, &str)] = &[
    ("MUSTER_URL", "`muster`: the address of the control plane; default `http://127.0.0.1:8080`."),
    ("MUSTER_TOKEN", "`muster`: the API token that it sends. Secret."),
    ("MUSTER_DATA_DIR", "`muster up`: the folder that it keeps everything in; default `~/.local/share/muster`."),
    ("MUSTER_TASK_ID", "Set for a command by the agent that runs it: the task that it belongs to."),
];

const EVERY: &[&str] =
    &["muster-gateway", "muster-inventory", "muster-tasks", "muster-result-ingestor", "muster-agent", "muster migrate"];
const SERVICES: &[&str] = &["muster-gateway", "muster-inventory", "muster-tasks", "muster-result-ingestor"];
const DATABASE_USERS: &[&str] = &["muster-inventory", "muster-tasks", "muster-result-ingestor", "muster migrate"];
const BROKER_USERS: &[&str] = &["muster-tasks", "muster-result-ingestor", "muster-agent", "muster fleet"];
const GATEWAY: &[&str] = &["muster-gateway"];
const TASKS: &[&str] = &["muster-tasks"];
const AGENT: &[&str] = &["muster-agent"];
const ENROLL: &[&str] = &["muster-agent enroll"];

keys! {
    CONFIG = "MUSTER_CONFIG", EVERY, None,
        "A TOML file of settings by these names; what the environment says comes first.";
    LISTEN = "MUSTER_LISTEN", SERVICES, Some("127.0.0.1:8080 (gateway), :8081 (inventory), :8082 (tasks), :8083 (result-ingestor)"),
        "The address and port that it listens on; without an API token only loopback.";
    #[secret true]
    API_TOKEN = "MUSTER_API_TOKEN", SERVICES, None,
        "What callers must send as `Authorization: Bearer …`, 16 characters or more; the same for all services.";
    #[secret true]
    DATABASE_URL = "MUSTER_DATABASE_URL", DATABASE_USERS, None,
        "The database, as `mysql://user:password@host:3306/name`.";
    DATABASE_CA_FILE = "MUSTER_DATABASE_CA_FILE", DATABASE_USERS, None,
        "The CA (PEM) that the database's certificate must come from; with it the connection is always encrypted.";
    DATABASE_CONNECTIONS = "MUSTER_DATABASE_CONNECTIONS", DATABASE_USERS, Some("10"),
        "The most connections to the database, 2 to 1000.";
    #[secret true]
    BROKER_URL = "MUSTER_BROKER_URL", BROKER_USERS, None,
        "The broker, as `amqp://user:password@host:5672/vhost` (`%2F` is the vhost `/`), or `amqps://` for TLS.";
    BROKER_CA_FILE = "MUSTER_BROKER_CA_FILE", BROKER_USERS, None,
        "A CA (PEM) that the broker's certificate may come from, besides those of the system.";
    SIGNING_KEY_FILE = "MUSTER_SIGNING_KEY_FILE", TASKS, None,
        "The plane's private RSA key (PKCS#8 PEM), the same for all replicas; made when the file is missing.";
    #[secret true]
    SIGNING_KEY = "MUSTER_SIGNING_KEY", TASKS, None,
        "That key itself, where no file can be kept: it comes before the file, and none is made.";
    KEEP_TASKS_DAYS = "MUSTER_KEEP_TASKS_DAYS", TASKS, Some("90"),
        "Days that a task is kept, from when it was made, 0 to 36500; 0 for no limit. What is not final yet is kept longer.";
    KEEP_TASKS_MAX = "MUSTER_KEEP_TASKS_MAX", TASKS, Some("1000000"),
        "Tasks that are kept, the newest of them, 0 to 1000000000; 0 for no limit. What is not final yet is kept longer.";
    KEEP_OUTPUT_DAYS = "MUSTER_KEEP_OUTPUT_DAYS", TASKS, Some("0"),
        "Days that a command's output is kept, from when it was stored, 0 to 36500; 0 for as long as its task. With the output goes the signed result that holds it.";
    INVENTORY_URL = "MUSTER_INVENTORY_URL", GATEWAY, Some("http://127.0.0.1:8081"),
        "Where the inventory answers.";
    TASKS_URL = "MUSTER_TASKS_URL", GATEWAY, Some("http://127.0.0.1:8082"),
        "Where the tasks service answers.";
    RESULT_INGESTOR_URL = "MUSTER_RESULT_INGESTOR_URL", GATEWAY, Some("http://127.0.0.1:8083"),
        "Where the result ingestor answers its probes.";
    RATE_LIMIT = "MUSTER_RATE_LIMIT", GATEWAY, Some("200"),
        "Requests a second that one caller (a token from one address) may make, for a moment twice as many; 0 for no limit. Without an API token there is none.";
    HOSTNAME = "MUSTER_HOSTNAME", AGENT, Some("the name it was enrolled with, at first the machine's own"),
        "The server's name in the inventory.";
    AGENT_DIR = "MUSTER_AGENT_DIR", AGENT, Some("/var/lib/muster-agent"),
        "Where the agent keeps its key, its journal and the plane's keys.";
    POLICY = "MUSTER_POLICY", AGENT, Some("/etc/muster/policy.toml"),
        "The host's policy; without the file every command is refused.";
    URL = "MUSTER_URL", ENROLL, None,
        "Where the control plane answers, like `https://muster.example.org`.";
    #[secret true]
    TOKEN = "MUSTER_TOKEN", ENROLL, None,
        "The control plane's API token.";
    CA_FILE = "MUSTER_CA_FILE", ENROLL, None,
        "The CA (PEM) that the control plane's certificate must come from, instead of the system's.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_ours() {
        let mut names: Vec<_> = ALL.iter().map(|key| key.name).collect();
        assert!(names.iter().all(|name| name.starts_with("MUSTER_")));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
