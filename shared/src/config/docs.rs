//! `docs/configuration.md`, written from the catalogue. The test fails when the page is not what the
//! catalogue says; with `MUSTER_UPDATE_DOCS=1` it writes the page.

use std::fmt::Write as _;

use super::key::{ALL, ELSEWHERE, Key};

/// The page.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");

/// The programs, in the order of the page.
const PROGRAMS: [&str; 8] = [
    "muster-gateway",
    "muster-inventory",
    "muster-tasks",
    "muster-result-ingestor",
    "muster-agent",
    "muster-agent enroll",
    "muster migrate",
    "muster fleet",
];

const HEAD: &str = r#"# Configuration

Written from `shared/src/config/key.rs`; `MUSTER_UPDATE_DOCS=1 cargo test -p muster-shared docs` writes it anew.

Each program reads its settings once, at its start. A setting is an environment variable, or a line of the
TOML file that `MUSTER_CONFIG` names. The order of precedence:

1. the environment (an empty variable counts as absent),
2. the file,
3. the default.

A missing or wrong setting stops the start with its name and exit status 2. So does a line of the file that is
no setting of Muster; a variable `MUSTER_…` that is none is named in a warning.

A secret may also come from a file of its own: `NAME_FILE` is the path, and the file's text without the space
around it is the value. `NAME` comes first when both are given. Secrets are never shown, neither in a log nor in
a complaint.

```toml
# /etc/muster/tasks.toml, with MUSTER_CONFIG=/etc/muster/tasks.toml
MUSTER_LISTEN = "0.0.0.0:8082"
MUSTER_API_TOKEN_FILE = "/run/secrets/api-token"
MUSTER_DATABASE_URL_FILE = "/run/secrets/database-url"
MUSTER_DATABASE_CONNECTIONS = 20
MUSTER_BROKER_URL_FILE = "/run/secrets/broker-url"
MUSTER_SIGNING_KEY_FILE = "/var/lib/muster/signing-key.pem"
```
"#;

const TAIL: &str = r#"
## Read by libraries

| name | meaning |
|---|---|
| `RUST_LOG` | What is logged, for example `info`, `warn,tasks=debug` or `info,access=off`; default `info`, and `warn` for `muster up`. |
| `OTEL_EXPORTER_OTLP_ENDPOINT` | Where traces go, as `http://host:4318` (OTLP over HTTP); without it none are exported. |
| `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_EXPORTER_OTLP_TIMEOUT` | What is sent with them, and how long that may take in milliseconds. |
| `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` | What the program is called in a trace, and what else is said of it. |
| `OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG` | Which traces are kept, for example `parentbased_traceidratio` and `0.1`. |
| `OTEL_SDK_DISABLED` | `true` exports nothing. |
"#;

fn page() -> String {
    let mut page = HEAD.to_owned();
    for program in PROGRAMS {
        _ = write!(page, "\n## {program}\n\n| name | default | meaning |\n|---|---|---|\n");
        for key in ALL.iter().filter(|key| key.read_by.contains(&program)) {
            page.push_str(&row(key));
        }
    }
    page.push_str("\n## The command line, and commands on servers\n\n| name | meaning |\n|---|---|\n");
    for (name, meaning) in ELSEWHERE {
        _ = writeln!(page, "| `{name}` | {meaning} |");
    }
    page + TAIL
}

fn row(key: &Key) -> String {
    let default = key.default.map(|default| format!("`{default}`")).unwrap_or_default();
    let secret = if key.is_secret { format!(" Secret: also as `{}_FILE`.", key.name) } else { String::new() };
    format!("| `{}` | {default} | {}{secret} |\n", key.name, key.meaning)
}

#[test]
fn the_page_says_what_the_catalogue_says() {
    let page = page();
    if std::env::var_os("MUSTER_UPDATE_DOCS").is_some_and(|value| value == "1") {
        std::fs::write(PAGE, &page).unwrap();
    }
    let written = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(written == page, "docs/configuration.md is out of date; run this test with MUSTER_UPDATE_DOCS=1");
}

#[test]
fn every_setting_stands_on_the_page() {
    for key in ALL {
        assert!(!key.read_by.is_empty() && key.read_by.iter().all(|one| PROGRAMS.contains(one)), "{}", key.name);
        assert!(!key.meaning.contains('|') && key.meaning.ends_with('.'), "{}", key.name);
    }
}
