//! The execution room against real processes: what a command is given, how it is ended, what is told
//! of it. Whatever concerns ending runs twice, with a cgroup where the machine allows one, and
//! without. Nothing sleeps in hope: a test waits for a condition, and fails if it does not come.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so")]

use std::fs;
use std::future::{Future, pending};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use agent::exec::{
    Account, AccountError, End, Exec, Job, Leftovers, Limits, Mark, Outcome, Process, Running, Script, Scripted,
    StartError, kill_leftovers,
};
use nix::unistd::geteuid;

/// How long a condition may take to come true before the test fails.
const PATIENCE: Duration = Duration::from_secs(20);
const HOSTNAME: &str = "web-1";

// --- what a command is given -------------------------------------------------------------------

#[tokio::test]
async fn the_environment_is_ours_alone() {
    assert!(std::env::var("CARGO_PKG_NAME").is_ok(), "the canary");
    let mut job = job("env");
    job.traceparent = Some("00-11111111111111111111111111111111-2222222222222222-01".into());
    let account = &job.account;
    let mut expected = vec![
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        format!("HOME={}", account.home.display()),
        format!("USER={}", account.name),
        format!("LOGNAME={}", account.name),
        format!("SHELL={}", account.shell.display()),
        "LANG=C.UTF-8".to_owned(),
        format!("MUSTER_TASK_ID={}", job.task_id),
        format!("MUSTER_HOSTNAME={HOSTNAME}"),
        format!("TRACEPARENT={}", job.traceparent.as_ref().unwrap()),
    ];
    expected.sort();
    let outcome = run(&job).await;
    // The shell adds some of its own.
    let own = ["PWD=", "OLDPWD=", "SHLVL=", "_="];
    let mut found: Vec<&str> = outcome.stdout.text.lines().collect();
    found.retain(|line| !own.iter().any(|name| line.starts_with(name)));
    found.sort_unstable();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_command_has_a_session_a_umask_and_no_core_of_its_own() {
    use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
    use nix::sys::stat::{Mode, umask};
    // Inherited, either would show. Only root may raise a limit that is hard.
    umask(Mode::from_bits_truncate(0o077));
    let _ = setrlimit(Resource::RLIMIT_CORE, RLIM_INFINITY, RLIM_INFINITY);
    let scratch = Scratch::new();
    let mut job = job("echo $$ $(cut -d' ' -f5,6 /proc/$$/stat); umask; ulimit -c; pwd");
    job.account.home = scratch.0.clone();
    let outcome = run(&job).await;
    let lines: Vec<&str> = outcome.stdout.text.lines().collect();
    let ids: Vec<&str> = lines[0].split(' ').collect();
    assert_eq!(ids, [ids[0]; 3], "pid, group and session");
    assert_eq!(lines[1..], ["0022", "0", scratch.0.to_str().unwrap()]);
}

#[tokio::test]
async fn stdin_is_empty_and_inherited_descriptors_are_closed() {
    use std::os::fd::AsRawFd;
    // dup makes a descriptor without the close-on-exec flag, as a careless C library would.
    let inherited = nix::unistd::dup(fs::File::open("/dev/null").unwrap()).unwrap();
    let probe = format!("cat; readlink /proc/$$/fd/0; test -e /proc/$$/fd/{}", inherited.as_raw_fd());
    let outcome = run(&job(&probe)).await;
    assert_eq!(outcome.end, End::Exited(1));
    assert_eq!(outcome.stdout.text, "/dev/null\n");
}

#[tokio::test]
#[expect(unsafe_code, reason = "ignoring a signal has no safe form")]
async fn an_ignored_signal_is_not_passed_on() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: to ignore a signal runs no code.
    unsafe { signal(Signal::SIGHUP, SigHandler::SigIgn) }.unwrap();
    let outcome = run(&job("kill -HUP $$; echo deaf")).await;
    assert_eq!(outcome.end, End::Signalled(1));
}

#[tokio::test]
async fn a_shield_from_the_oom_killer_is_not_passed_on() {
    if fs::write("/proc/self/oom_score_adj", "-1").is_err() {
        return not_checked("resetting a shield from the OOM killer needs a privilege that is not given here");
    }
    assert_eq!(run(&job("cat /proc/self/oom_score_adj")).await.stdout.text, "0\n");
}

// --- which user it runs as ---------------------------------------------------------------------

/// The child that becomes another user is a copy of one thread among locks that others held.
#[tokio::test(flavor = "multi_thread")]
async fn becoming_another_user_waits_for_no_lock_of_the_agents() {
    if !geteuid().is_root() {
        return not_checked("becoming another user needs root");
    }
    let over = Arc::new(AtomicBool::new(false));
    let churns: Vec<_> = (0..4)
        .map(|_| {
            let over = Arc::clone(&over);
            // Starting and ending threads takes the lock of the list of threads.
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    std::thread::spawn(|| ()).join().unwrap();
                }
            })
        })
        .collect();
    let mut job = job("true");
    job.account = Account::resolve(Some("nobody")).unwrap();
    let exec = Arc::new(Exec::Process(process(false)));
    for round in 0..1_000 {
        let (exec, job) = (Arc::clone(&exec), job.clone());
        let started = tokio::task::spawn_blocking(move || exec.start(&job));
        let started = tokio::time::timeout(PATIENCE, started).await;
        let running = started.unwrap_or_else(|_| panic!("the child of round {round} hangs")).unwrap().unwrap();
        assert_eq!(running.finish(pending()).await.end, End::Exited(0));
    }
    over.store(true, Ordering::Relaxed);
    churns.into_iter().for_each(|churn| churn.join().unwrap());
}

#[tokio::test]
async fn another_user_comes_with_its_own_groups_only() {
    if !geteuid().is_root() {
        return not_checked("becoming another user needs root");
    }
    let nobody = Account::resolve(Some("nobody")).unwrap();
    let mut job = job("id -un; id -u; id -g; id -G; pwd; echo $HOME; echo $USER");
    job.account = nobody.clone();
    let listed = |groups: &[u32]| {
        let groups: Vec<String> = groups.iter().map(u32::to_string).collect();
        groups.join(" ")
    };
    let outcome = run(&job).await;
    let (uid, gid) = (nobody.uid, nobody.gid);
    let (home, groups) = (nobody.home.display(), listed(&nobody.groups));
    let expected = format!("nobody\n{uid}\n{gid}\n{groups}\n/\n{home}\nnobody\n");
    assert_eq!(outcome.stdout.text, expected);

    // More groups than one; and a home that root could enter, but this user may not.
    let closed = Scratch::new();
    fs::set_permissions(&closed.0, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    job.account.groups = vec![nobody.gid, 4_242];
    job.account.home = closed.0.clone();
    let outcome = run(&job).await;
    assert_eq!(outcome.stdout.text.lines().nth(3), Some(&*listed(&[nobody.gid, 4_242])));
    assert_eq!(outcome.stdout.text.lines().nth(4), Some("/"));
}

#[tokio::test]
async fn a_switch_that_did_not_happen_is_noticed() {
    if !geteuid().is_root() {
        return not_checked("becoming another user needs root");
    }
    let mut job = job("id");
    // To the kernel -1 means "leave as it is": root would stay root.
    job.account.uid = u32::MAX;
    let error = refusal(process(true), &job);
    assert!(matches!(&error, StartError::Account(name) if *name == job.account.name));
    assert_eq!(error.exit_code(), 126);
}

#[test]
fn a_user_that_cannot_be_had_is_a_sentence() {
    let own = Account::current().unwrap();
    assert_eq!(Account::resolve(None).as_ref(), Ok(&own));
    assert_eq!(Account::resolve(Some(&own.name)).as_ref(), Ok(&own));

    let error = Account::resolve(Some("no-such-user")).unwrap_err();
    assert_eq!(error, AccountError::Unknown("no-such-user".into()));
    assert_eq!(error.to_string(), "this server has no user `no-such-user`");
    assert!(Account::resolve(Some("nul\0")).is_err());

    let agent = Account { name: "muster".into(), uid: 4_242, ..own };
    let error = agent.becoming(Some("root")).unwrap_err();
    let sentence = "the agent runs as `muster` and may not become `root`";
    assert_eq!(error.to_string(), sentence);
}

// --- how it ends by itself ---------------------------------------------------------------------

#[tokio::test]
async fn exit_codes_and_signals_are_told_apart() {
    for (command, end) in [
        ("true", End::Exited(0)),
        ("exit 300", End::Exited(44)),
        ("exit 137", End::Exited(137)),
        ("kill -KILL $$", End::Signalled(9)),
        ("no-such-command", End::Exited(127)),
    ] {
        let outcome = run(&job(command)).await;
        assert_eq!((outcome.end, outcome.leaked), (end, false), "{command}");
    }
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    for (command, sentence) in [
        ("a\0b".to_owned(), "the command holds a NUL byte"),
        ("#".repeat(131_072), "the command is longer than the 128 KiB that Linux takes as one argument"),
    ] {
        let error = refusal(process(true), &job(&command));
        assert_eq!((error.to_string().as_str(), error.exit_code()), (sentence, 126));
    }
    assert_eq!(StartError::NoShell.exit_code(), 127);
    assert_eq!(StartError::NoShell.to_string(), "this server has no /bin/sh");
}

#[tokio::test]
async fn a_background_process_neither_holds_the_result_nor_is_killed() {
    for exec in both() {
        let scratch = Scratch::new();
        let job = job(&format!("sleep 60 & echo $! > {}; echo hi", scratch.file("pid")));
        let started = Instant::now();
        let running = exec.start(&job).unwrap();
        let mark = running.mark().unwrap().clone();
        let outcome = running.finish(pending()).await;
        assert!(started.elapsed() < Duration::from_secs(30), "it did not wait for the one in the background");
        assert_eq!(outcome, Outcome::new(End::Exited(0), "hi\n"));
        assert!(alive(scratch.pid("pid").await));

        // Once it ends, a later job's start removes the cgroup it was in.
        let left = kill_leftovers(&job.task_id, HOSTNAME, None).await;
        assert_eq!(left, Leftovers::Killed);
        removed(&exec, mark).await;
    }
}

// --- how it is ended ---------------------------------------------------------------------------

#[tokio::test]
async fn a_timeout_ends_those_who_left_the_group() {
    for exec in both() {
        let scratch = Scratch::new();
        let (own, daemon) = (scratch.file("own"), scratch.file("daemon"));
        let mut job = job(&format!(
            "echo begun; setsid sh -c 'echo $$ > {own}; exec sleep 1000' & \
             (setsid sh -c 'trap \"\" TERM; echo $$ > {daemon}; sleep 1000; sleep 1000' &); \
             sleep 1000"
        ));
        job.timeout = Duration::from_millis(1);
        let running = exec.start(&job).unwrap();
        // The timeout has passed before anyone looks, so that both are there when it strikes.
        let (own, daemon) = (scratch.pid("own").await, scratch.pid("daemon").await);
        let outcome = running.finish(pending()).await;
        assert_eq!(outcome, Outcome::new(End::TimedOut, "begun\n"));
        assert!(!alive(own) && !alive(daemon));
    }
}

#[tokio::test]
async fn a_chain_that_forks_away_from_its_parents_is_caught() {
    for exec in both() {
        let scratch = Scratch::new();
        let (link, ready) = (scratch.file("link"), scratch.file("pid"));
        let script = format!("echo $$ > {ready}; sleep 0.01; setsid sh {link} &\n");
        fs::write(&link, script).unwrap();
        let job = job(&format!("setsid sh {link} & sleep 1000"));
        let outcome = run_with(&exec, &job, scratch.written("pid")).await;
        assert_eq!((outcome.end, outcome.leaked), (End::Cancelled, false));
        let left = kill_leftovers(&job.task_id, HOSTNAME, None).await;
        assert_eq!(left, Leftovers::None);
    }
}

/// A tree of 127 shells, each in a session of its own and deaf to SIGTERM, which goes on growing while it
/// is killed: bounded by its depth, so that a failure does not take the machine with it.
#[tokio::test]
async fn a_fork_bomb_is_ended_to_the_last_process() {
    for exec in both() {
        let scratch = Scratch::new();
        let (bomb, log) = (scratch.file("bomb"), scratch.file("pids"));
        let script = format!(
            "trap '' TERM; echo $$ >> {log}\n[ $1 -gt 0 ] && for side in 1 2; do setsid sh {bomb} $(($1 - 1)) & done\n\
             while :; do sleep 1; done\n"
        );
        fs::write(&bomb, script).unwrap();
        let job = job(&format!("sh {bomb} 6"));
        let grown = || fs::read_to_string(&log).unwrap_or_default().lines().count() >= 20;
        let outcome = run_with(&exec, &job, until("it has grown", grown)).await;
        assert_eq!((outcome.end, outcome.leaked), (End::Cancelled, false));
        let pids = fs::read_to_string(&log).unwrap();
        let living = pids.lines().filter(|pid| alive(pid.parse().unwrap())).count();
        assert_eq!(living, 0, "of {} none is left", pids.lines().count());
        assert_eq!(kill_leftovers(&job.task_id, HOSTNAME, None).await, Leftovers::None);
    }
}

#[tokio::test]
async fn what_outlives_the_kill_is_said() {
    // Given no time at all to die, even SIGKILL counts as survived.
    let limits = Limits { grace: Duration::ZERO, kill: Duration::ZERO, ..Limits::default() };
    let exec = Exec::Process(Process::without_cgroups(limits));
    let scratch = Scratch::new();
    let ready = scratch.file("pid");
    let job = job(&format!("trap '' TERM; echo $$ > {ready}; while :; do sleep 1; done"));
    let outcome = run_with(&exec, &job, scratch.written("pid")).await;
    assert!(outcome.leaked);
}

#[tokio::test]
async fn a_shell_that_ignores_term_is_killed() {
    for exec in both() {
        let scratch = Scratch::new();
        let ready = scratch.file("pid");
        let job = job(&format!("trap '' TERM; echo $$ > {ready}; while :; do sleep 1; done"));
        let outcome = run_with(&exec, &job, scratch.written("pid")).await;
        assert_eq!(outcome, Outcome::new(End::Cancelled, ""));
        assert!(!alive(scratch.pid("pid").await));
    }
}

#[tokio::test]
async fn children_that_ignore_term_die_though_the_shell_is_gone() {
    for exec in both() {
        let scratch = Scratch::new();
        let ready = scratch.file("pid");
        // Without parent, session and environment it is known only from before SIGTERM.
        let stubborn = format!("trap \"\" TERM; echo $$ > {ready}; while :; do sleep 1; done");
        let job = job(&format!("env -i setsid sh -c '{stubborn}' & wait"));
        let outcome = run_with(&exec, &job, scratch.written("pid")).await;
        assert_eq!((outcome.end, outcome.leaked), (End::Cancelled, false));
        assert!(!alive(scratch.pid("pid").await));
    }
}

#[tokio::test]
async fn the_grace_is_for_clean_up_and_is_asked_for_once() {
    for with_cgroups in [true, false] {
        let scratch = Scratch::new();
        let ready = scratch.file("pid");
        // The outer shell dies of SIGTERM at once; the inner one still has something to save.
        let saving = "echo asked; sleep 0.3; echo saved; exit";
        let inner = format!("trap \"{saving}\" TERM; echo $$ > {ready}; while :; do sleep 0.01; done");
        let job = job(&format!("sh -c '{inner}' & wait"));
        let exec = Exec::Process(process_with(with_cgroups, Limits::default()));
        let started = Instant::now();
        let outcome = run_with(&exec, &job, scratch.written("pid")).await;
        assert_eq!(outcome.stdout.text, "asked\nsaved\n");
        assert!(started.elapsed() < Limits::default().grace, "the grace ends with the job");
    }
}

#[tokio::test]
async fn a_cgroup_holds_what_hides() {
    let exec = Exec::Process(process(true));
    let scratch = Scratch::new();
    // Neither parent, nor session, nor environment lead to it.
    let hidden = format!("sh -c 'echo $$ > {}; exec sleep 1000'", scratch.file("pid"));
    let job = job(&format!("(env -i setsid {hidden} &); sleep 1000"));
    let running = exec.start(&job).unwrap();
    let mark = running.mark().unwrap().clone();
    if mark.cgroup.is_none() {
        return not_checked("no cgroup can be made here; the fallback has tests of its own");
    }
    let outcome = running.finish(scratch.written("pid")).await;
    assert_eq!((outcome.end, outcome.leaked), (End::Cancelled, false));
    assert!(!alive(scratch.pid("pid").await));
    removed(&exec, mark).await;
}

#[tokio::test]
async fn the_timeout_counts_from_the_start() {
    let mut job = job("sleep 1000");
    job.timeout = Duration::ZERO;
    let outcome = run(&job).await;
    assert_eq!(outcome, Outcome::new(End::TimedOut, ""));
}

#[tokio::test]
async fn a_job_that_is_dropped_is_killed_and_leaves_no_zombie() {
    for exec in both() {
        let scratch = Scratch::new();
        let daemon = format!("sh -c 'echo $$ > {}; exec sleep 1000'", scratch.file("pid"));
        let job = job(&format!("(setsid {daemon} &); sleep 1000"));
        let running = exec.start(&job).unwrap();
        let mark = running.mark().unwrap().clone();
        let daemon = scratch.pid("pid").await;
        drop(running);
        let entry = PathBuf::from(format!("/proc/{}", mark.pid));
        until("the zombie is gone", || !entry.exists()).await;
        if mark.cgroup.is_none() {
            // To find who left the group takes a scan, which is left to the agent's next start.
            let left = kill_leftovers(&job.task_id, HOSTNAME, Some(&mark)).await;
            assert_eq!(left, Leftovers::Killed);
        }
        until("the daemon is gone", || !alive(daemon)).await;
        removed(&exec, mark).await;
    }
}

// --- what a crashed agent left -----------------------------------------------------------------

#[tokio::test]
async fn leftovers_are_killed_by_their_mark() {
    for exec in both() {
        let scratch = Scratch::new();
        let daemon = format!("setsid sh -c 'echo $$ > {}; sleep 1000'", scratch.file("pid"));
        let job = job(&format!("trap '' TERM; {daemon} & sleep 1000"));
        let mark = crash(exec.start(&job).unwrap());
        let daemon = scratch.pid("pid").await;

        // Not its environment, and not its start or its boot: the pid alone proves nothing.
        let recycled = Mark { start_ticks: mark.start_ticks - 1, cgroup: None, ..mark.clone() };
        let rebooted = Mark { boot_id: "another".into(), ..mark.clone() };
        for wrong in [recycled, rebooted] {
            let left = kill_leftovers("another", HOSTNAME, Some(&wrong)).await;
            assert_eq!(left, Leftovers::None);
            assert!(alive(mark.pid) && alive(daemon));
        }

        // The mark leads to the shell, and the shell to its child.
        let left = kill_leftovers("another", HOSTNAME, Some(&mark)).await;
        assert_eq!(left, Leftovers::Killed);
        assert!(!alive(mark.pid) && !alive(daemon));
        let again = kill_leftovers(&job.task_id, HOSTNAME, Some(&mark)).await;
        assert_eq!(again, Leftovers::None);
        assert!(mark.cgroup.is_none_or(|cgroup| !cgroup.exists()));
    }
}

#[tokio::test]
async fn leftovers_without_a_mark_are_known_by_their_environment() {
    for exec in both() {
        let job = job("(setsid sleep 1000 &); sleep 1000");
        let mark = crash(exec.start(&job).unwrap());
        let left = kill_leftovers(&job.task_id, "another-host", None).await;
        assert_eq!(left, Leftovers::None);
        assert!(alive(mark.pid));
        let left = kill_leftovers(&job.task_id, HOSTNAME, None).await;
        assert_eq!(left, Leftovers::Killed);
        assert!(!alive(mark.pid));
        assert!(mark.cgroup.is_none_or(|cgroup| !cgroup.exists()));
    }
}

#[test]
fn a_mark_survives_the_journal() {
    let mark = Mark { pid: 7, start_ticks: 8, boot_id: "b".into(), cgroup: Some("/c".into()) };
    let text = serde_json::to_string(&mark).unwrap();
    assert_eq!(serde_json::from_str::<Mark>(&text).unwrap(), mark);
}

// --- what is told of its output ----------------------------------------------------------------

#[tokio::test]
async fn output_keeps_its_head_and_its_tail() {
    let limits = Limits { head: 4, tail: 6, ..Limits::default() };
    let exec = Exec::Process(Process::new(limits));
    for (output, text, truncated) in [
        ("0123456789", "0123456789", false),
        ("0123456789a", "0123\n[muster: 1 bytes left out]\n56789a", true),
        // A character across the inner border is whole where nothing is cut, and left out where it is.
        ("012é56", "012é56", false),
        ("012é5678é12é", "012\n[muster: 6 bytes left out]\né12é", true),
        ("012345é67890", "0123\n[muster: 4 bytes left out]\n67890", true),
    ] {
        let outcome = run_with(&exec, &job(&format!("printf {output}")), pending()).await;
        let stdout = outcome.stdout;
        assert_eq!((stdout.text.as_str(), stdout.truncated), (text, truncated));
        assert_eq!(stdout.bytes, output.len() as u64);
    }
}

#[tokio::test]
async fn bytes_that_are_no_utf8_become_replacement_characters() {
    let outcome = run(&job(r"printf 'a\377\376b'; printf 'c\303' >&2")).await;
    assert_eq!((outcome.stdout.text.as_str(), outcome.stdout.bytes), ("a\u{fffd}\u{fffd}b", 4));
    assert_eq!((outcome.stderr.text.as_str(), outcome.stderr.bytes), ("c\u{fffd}", 2));
    assert!(!outcome.stdout.truncated && !outcome.stderr.truncated);
}

#[tokio::test]
async fn endless_output_takes_bounded_memory() {
    const GIB: u64 = 1 << 30;
    let mut job = job(&format!("head -c {GIB} /dev/zero | tr '\\0' x; echo done >&2"));
    job.timeout = PATIENCE * 3;
    let outcome = run(&job).await;
    assert_eq!((outcome.end, outcome.stdout.bytes), (End::Exited(0), GIB));
    assert_eq!(outcome.stderr.text, "done\n");
    let kept = (64 + 192) * 1024;
    let note = format!("\n[muster: {} bytes left out]\n", GIB - kept as u64);
    assert_eq!(outcome.stdout.text.len(), kept + note.len());
    assert_eq!(outcome.stdout.text.find(&note), Some(64 * 1024));
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 128 * 1024, "peak memory was {peak} KiB");
}

// --- the script, for tests and the simulator ---------------------------------------------------

#[tokio::test]
async fn a_script_stands_in_for_processes() {
    let scripted = Scripted::new(|job| match job.command.as_str() {
        "hang" => Script::Hangs,
        "fail" => Script::Fails(StartError::NoShell),
        other => Script::Ends(Outcome::new(End::Exited(3), other)),
    });
    let exec = Exec::Scripted(scripted.clone());
    let running = exec.start(&job("ls")).unwrap();
    assert!(running.mark().is_none());
    assert_eq!(running.finish(pending()).await, Outcome::new(End::Exited(3), "ls"));
    let hanging = run_with(&exec, &job("hang"), async {}).await;
    assert_eq!(hanging.end, End::Cancelled);
    assert!(matches!(exec.start(&job("fail")), Err(StartError::NoShell)));
    let ran: Vec<String> = scripted.log().into_iter().map(|job| job.command).collect();
    assert_eq!(ran, ["ls", "hang", "fail"]);
}

// --- the harness -------------------------------------------------------------------------------

/// Says past the capture of the test runner that a check did not take place.
fn not_checked(why: &str) {
    std::io::stderr().write_all(format!("NOT CHECKED: {why}\n").as_bytes()).unwrap();
}

/// Limits with a grace short enough for a test, and time to kill on a loaded machine.
fn short() -> Limits {
    Limits { grace: Duration::from_millis(300), kill: PATIENCE, ..Limits::default() }
}

fn process_with(with_cgroups: bool, limits: Limits) -> Process {
    if with_cgroups { Process::new(limits) } else { Process::without_cgroups(limits) }
}

fn process(with_cgroups: bool) -> Process {
    process_with(with_cgroups, short())
}

fn both() -> [Exec; 2] {
    [true, false].map(|with_cgroups| Exec::Process(process(with_cgroups)))
}

fn job(command: &str) -> Job {
    Job {
        task_id: uuid::Uuid::now_v7().simple().to_string(),
        hostname: HOSTNAME.into(),
        command: command.into(),
        account: Account::current().unwrap(),
        timeout: PATIENCE,
        traceparent: None,
    }
}

async fn run(job: &Job) -> Outcome {
    run_with(&Exec::Process(process(true)), job, pending()).await
}

async fn run_with(exec: &Exec, job: &Job, cancel: impl Future<Output = ()>) -> Outcome {
    exec.start(job).unwrap().finish(cancel).await
}

fn refusal(process: Process, job: &Job) -> StartError {
    match Exec::Process(process).start(job) {
        Ok(_) => panic!("it started"),
        Err(error) => error,
    }
}

/// Leaves the job as a `kill -9` of the agent would: running, and followed by nobody.
fn crash(running: Running) -> Mark {
    let mark = running.mark().unwrap().clone();
    std::mem::forget(running);
    mark
}

/// Waits until the starts of further jobs have removed the cgroup, if there was one.
async fn removed(exec: &Exec, mark: Mark) {
    let Some(cgroup) = mark.cgroup else { return };
    let deadline = Instant::now() + PATIENCE;
    while cgroup.exists() {
        assert!(Instant::now() < deadline, "the cgroup stays");
        run_with(exec, &job("true"), pending()).await;
    }
}

/// Neither gone nor a zombie.
fn alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, fields)| !fields.starts_with(['Z', 'X']))
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A directory for the files through which commands report to their test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("muster-exec-{}", uuid::Uuid::now_v7()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// Waits until a command has written a line to the file.
    async fn written(&self, name: &str) {
        let line = |path: &Path| fs::read_to_string(path).is_ok_and(|text| text.ends_with('\n'));
        until("a file is written", || line(&self.0.join(name))).await;
    }

    /// The pid that a command wrote to the file.
    async fn pid(&self, name: &str) -> i32 {
        self.written(name).await;
        fs::read_to_string(self.file(name)).unwrap().trim().parse().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
