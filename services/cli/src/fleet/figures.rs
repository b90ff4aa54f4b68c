//! What was measured, for people and for programs.

use std::time::Duration;

use serde::Serialize;
use shared::contract::task::Task;
use shared::error::Result;

use crate::tally::open;
use crate::terminal::Out;

/// One run.
#[derive(Debug, Serialize)]
pub struct Figures {
    /// How many agents were simulated.
    pub agents: i64,
    /// The size of their keys.
    pub key_bits: u32,
    /// Each task, in order.
    pub tasks: Vec<TaskFigures>,
    /// Deliveries that the agents did not believe.
    pub refused: u64,
    /// Processor time of this process while the tasks ran.
    pub cpu_seconds: f64,
    /// The part of it that verifying commands and signing results took.
    pub signing_cpu_seconds: f64,
}

/// One task. Times are since its `POST` was sent, in milliseconds.
#[derive(Debug, Serialize)]
pub struct TaskFigures {
    task_id: String,
    targets: i64,
    succeeded: i64,
    answered_ms: f64,
    first_result_ms: Option<f64>,
    last_result_ms: Option<f64>,
    results_per_second: f64,
}

impl TaskFigures {
    /// A task that was just accepted.
    pub fn answered(task: &Task, after: Duration) -> Self {
        Self {
            task_id: task.task_id.clone(),
            targets: task.targets,
            succeeded: 0,
            answered_ms: ms(after),
            first_result_ms: None,
            last_result_ms: None,
            results_per_second: 0.0,
        }
    }

    /// Notes what a look at the task shows.
    pub fn see(&mut self, task: &Task, after: Duration) {
        let ended = task.targets - open(task);
        if ended == 0 {
            return;
        }
        self.first_result_ms.get_or_insert(ms(after));
        self.succeeded = task.counts.get("succeeded").copied().unwrap_or(0);
        if ended == task.targets {
            self.last_result_ms = Some(ms(after));
        }
        self.results_per_second = ended as f64 / after.as_secs_f64();
    }

    fn line(&self) -> String {
        let shown = |ms: Option<f64>| ms.map_or_else(|| "never".to_owned(), |ms| format!("{ms:.0} ms"));
        format!(
            "task {}: answered {:.1} ms, first result {}, last result {}, {:.0} results a second, {} of {} succeeded",
            self.task_id,
            self.answered_ms,
            shown(self.first_result_ms),
            shown(self.last_result_ms),
            self.results_per_second,
            self.succeeded,
            self.targets
        )
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

impl Figures {
    /// Whether every agent's result of every task was stored, and none was anything but a success.
    pub fn all_succeeded(&self) -> bool {
        self.tasks.iter().all(|task| task.targets == self.agents && task.succeeded == self.agents)
    }

    /// Prints them for people.
    pub fn print(out: &mut Out, figures: &Self) -> Result<()> {
        for task in &figures.tasks {
            out.line(&task.line())?;
        }
        out.line(&format!(
            "this process: {:.2} s of processor time, of which verifying and signing {:.2} s ({} bits)",
            figures.cpu_seconds, figures.signing_cpu_seconds, figures.key_bits
        ))?;
        if figures.refused > 0 {
            out.line(&format!("{} deliveries were not believed", figures.refused))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(counts: &[(&str, i64)]) -> Task {
        let counts: serde_json::Map<_, _> = counts.iter().map(|(name, n)| ((*name).to_owned(), (*n).into())).collect();
        serde_json::from_value(serde_json::json!({
            "task_id": "t", "target_type": "group", "target": "fleet", "command": "true", "timeout": 30, "user": null,
            "status": "running", "created_at": "2026-01-01T00:00:00.000Z", "expires_at": "2026-01-01T00:00:00.000Z",
            "deadline": "2026-01-01T00:00:00.000Z", "final": false, "targets": 10, "counts": counts,
            "cancel_requested_at": null, "trace_id": "x"
        }))
        .unwrap()
    }

    #[test]
    fn first_and_last_are_told_apart() {
        let mut figures = TaskFigures::answered(&task(&[("queued", 10)]), Duration::from_millis(5));
        figures.see(&task(&[("sent", 10)]), Duration::from_millis(10));
        assert_eq!(figures.first_result_ms, None);
        figures.see(&task(&[("sent", 7), ("succeeded", 3)]), Duration::from_millis(20));
        assert_eq!((figures.first_result_ms, figures.last_result_ms), (Some(20.0), None));
        figures.see(&task(&[("succeeded", 10)]), Duration::from_millis(40));
        assert_eq!((figures.first_result_ms, figures.last_result_ms), (Some(20.0), Some(40.0)));
        assert_eq!(figures.results_per_second, 250.0);
        let run = |tasks| Figures {
            agents: 10,
            key_bits: 2_048,
            tasks,
            refused: 0,
            cpu_seconds: 0.0,
            signing_cpu_seconds: 0.0,
        };
        assert!(run(vec![figures]).all_succeeded());
        let mut short = TaskFigures::answered(&task(&[("queued", 10)]), Duration::from_millis(5));
        short.see(&task(&[("succeeded", 9), ("failed", 1)]), Duration::from_millis(9));
        assert!(!run(vec![short]).all_succeeded());
    }
}
