//! The table of doors. The other tests walk it, and it is compared with the routes in the services'
//! sources, so that a route that is added is either tested or noticed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every route of the front, with its methods.
pub const ROUTES: &[(&str, &[&str])] = &[
    ("/api/health", &["GET"]),
    ("/api/servers", &["GET", "POST"]),
    ("/api/servers/{hostname}", &["DELETE", "GET", "PATCH"]),
    ("/api/client-keys", &["GET"]),
    ("/api/client-keys/{hostname}", &["DELETE", "GET", "PUT"]),
    ("/api/signing-keys", &["GET"]),
    ("/api/commands", &["POST"]),
    ("/api/tasks", &["GET"]),
    ("/api/tasks/{task_id}", &["GET"]),
    ("/api/tasks/{task_id}/cancel", &["POST"]),
    ("/api/tasks/{task_id}/retry", &["POST"]),
    ("/api/tasks/{task_id}/results", &["GET"]),
    ("/api/tasks/{task_id}/invocations", &["GET"]),
    ("/api/tasks/{task_id}/evidence", &["GET"]),
    ("/api/tasks/{task_id}/conflicts", &["GET"]),
    ("/api/dead", &["GET"]),
    ("/api/dead/{letter_id}", &["DELETE", "GET"]),
    ("/api/dead/{letter_id}/replay", &["POST"]),
];

/// Every door: a method and a route.
pub fn doors() -> impl Iterator<Item = (&'static str, &'static str)> {
    ROUTES.iter().flat_map(|(route, methods)| methods.iter().map(|method| (*method, *route)))
}

/// A path of this route that leads nowhere in particular.
pub fn path(route: &str) -> String {
    route.replace("{hostname}", "web-1").replace("{task_id}", &"0".repeat(32)).replace("{letter_id}", &"0".repeat(32))
}

#[test]
fn the_table_holds_every_route_of_the_sources() {
    let table: BTreeMap<_, BTreeSet<_>> =
        ROUTES.iter().map(|(route, methods)| ((*route).to_owned(), methods.iter().copied().collect())).collect();
    assert_eq!(table, registered());
}

fn registered() -> BTreeMap<String, BTreeSet<&'static str>> {
    let services = Path::new(env!("CARGO_MANIFEST_DIR")).join("../services");
    let mut routes = BTreeMap::<_, BTreeSet<_>>::new();
    // The command line and the agent are clients; the routes in them, as those in the tests of the others,
    // belong to the planes that their tests invent.
    let folders = fs::read_dir(services).unwrap().map(|entry| entry.unwrap().path());
    let served = folders.filter(|folder| !folder.ends_with("cli") && !folder.ends_with("agent"));
    for source in served.flat_map(|folder| sources(&folder.join("src"))) {
        for call in fs::read_to_string(&source).unwrap().split(".route(").skip(1) {
            let (route, methods) = read(call);
            assert!(!methods.is_empty(), "{}: no method can be read off {route}", source.display());
            routes.entry(route.to_owned()).or_default().extend(methods);
        }
    }
    routes
}

/// Every Rust file below `folder`.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| if path.is_dir() { sources(&path) } else { vec![path] };
    paths.flat_map(below).filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// The path and the methods of a call of `route`, from behind its opening parenthesis.
fn read(call: &str) -> (&str, Vec<&'static str>) {
    let mut depth = 1;
    let end = call.find(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth == 0
    });
    let arguments = &call[..end.unwrap()];
    let methods = ["GET", "POST", "PUT", "PATCH", "DELETE"];
    let handles = |method: &&str| arguments.contains(&format!("{}(", method.to_lowercase()));
    (arguments.split('"').nth(1).unwrap(), methods.into_iter().filter(handles).collect())
}
