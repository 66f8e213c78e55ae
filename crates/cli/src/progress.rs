//! A run as a person sees it go on: a bar on a terminal, plain lines in a log.

use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use stepwell_engine::evaluation::Evaluation;
use stepwell_engine::observe::{Event, Metrics, Observer};
use stepwell_tree::Verdict;

use crate::interrupt;
use crate::say::{complain, say, watched, width};
use crate::visible::{shortened, wrapped};

/// Time between two lines of a log.
const LINE_EVERY: Duration = Duration::from_secs(3);

/// Shows events.
pub(crate) struct Progress {
    /// Hidden where nobody watches.
    bar: ProgressBar,
    watched: bool,
    stage: usize,
    stages: usize,
    kind: &'static str,
    steps: usize,
    begun: Instant,
    begun_at: usize,
    line_due: Instant,
    numbers: String,
    left: String,
    accuracy: Option<f64>,
    told_to_stop: bool,
    /// Said once the run is sure to begin.
    greeting: Option<String>,
}

impl Progress {
    /// Progress of a run with this many stages in this folder.
    pub(crate) fn new(stages: usize, run: &Path) -> Self {
        let watched = watched();
        let target =
            if watched { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let now = Instant::now();
        Progress {
            bar: ProgressBar::with_draw_target(Some(1), target),
            watched,
            stage: 0,
            stages,
            kind: "",
            steps: 1,
            begun: now,
            begun_at: 0,
            line_due: now,
            numbers: String::new(),
            left: String::new(),
            accuracy: None,
            told_to_stop: false,
            greeting: Some(format!("run folder: {}", run.display())),
        }
    }

    /// Takes the bar off the screen.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn say(&self, text: &str) {
        self.bar.suspend(|| say(text));
    }

    fn stage_started(&mut self, stage: usize, kind: &'static str, done: usize, steps: usize) {
        (self.stage, self.kind, self.steps) = (stage, kind, steps);
        (self.begun, self.begun_at) = (Instant::now(), done);
        self.numbers.clear();
        self.left.clear();
        self.line_due = Instant::now();
        if let Some(greeting) = self.greeting.take() {
            say(greeting); // before the bar is drawn for the first time
        }
        let template = "{prefix} {bar:12} {pos}/{len} {wide_msg}";
        let style = ProgressStyle::with_template(template).expect("the template is ours");
        self.bar.set_style(style.progress_chars("━╸ "));
        self.bar.set_prefix(format!("stage {}/{} {kind}", stage + 1, self.stages));
        self.bar.set_length(steps as u64);
        self.bar.set_position(done as u64);
        self.bar.set_message("");
        if !self.watched {
            let from = if done > 0 { format!(", going on at step {done}") } else { String::new() };
            self.say(&format!("stage {}/{} {kind}: {steps} steps{from}", stage + 1, self.stages));
        }
    }

    fn step(&mut self, done: usize, metrics: &Metrics) {
        self.numbers = numbers(metrics);
        self.left = self.time_left(done);
        self.bar.set_position(done as u64);
        self.refresh(0);
        let now = Instant::now();
        if !self.watched && (now >= self.line_due || done == self.steps) {
            self.line_due = now + LINE_EVERY;
            let place = format!("stage {}/{} {}", self.stage + 1, self.stages, self.kind);
            let (numbers, accuracy) = (&self.numbers, self.newest_accuracy());
            say(format!("{place} step {done}/{}{numbers}{accuracy}", self.steps));
        }
    }

    /// The bar's words. What is live now comes last: it changes most.
    fn refresh(&self, live: usize) {
        let accuracy = self.newest_accuracy();
        let live = if live > 0 { format!("  sampling {live}") } else { String::new() };
        self.bar.set_message(format!("{}{}{accuracy}{live}", self.left, self.numbers));
    }

    fn newest_accuracy(&self) -> String {
        self.accuracy.map_or_else(String::new, |a| format!("  accuracy {a:.3}"))
    }

    /// Time left at the pace so far.
    fn time_left(&self, done: usize) -> String {
        let fresh = done.saturating_sub(self.begun_at).max(1);
        let pace = self.begun.elapsed().as_secs_f64() / fresh as f64;
        let seconds = pace * self.steps.saturating_sub(done) as f64;
        crate::table::duration(seconds) + " left"
    }

    fn evaluated(&mut self, done: usize, evaluation: &Evaluation) {
        self.accuracy = Some(evaluation.accuracy);
        let unscored = match evaluation.unscored {
            0 => String::new(),
            n => format!(", {n} could not be judged"),
        };
        self.say(&format!(
            "stage {}/{} {} step {done}: accuracy {:.3} ± {:.3} over {} questions{unscored}\n{}",
            self.stage + 1,
            self.stages,
            self.kind,
            evaluation.accuracy,
            evaluation.interval,
            evaluation.questions,
            samples(evaluation)
        ));
    }

    fn tell_of_stop(&mut self) {
        if interrupt::requested() && !self.told_to_stop {
            self.told_to_stop = true;
            self.bar.suspend(|| {
                complain(
                    "stopping",
                    "finishing this step and writing a checkpoint; again: at once",
                );
            });
        }
    }
}

impl Observer for Progress {
    fn event(&mut self, event: Event<'_>) {
        self.tell_of_stop();
        match event {
            Event::StageStarted { stage, kind, done, steps } => {
                self.stage_started(stage, kind, done, steps);
            }
            Event::Sampling { live } => self.refresh(live),
            Event::Step { done, metrics, .. } => self.step(done, metrics),
            Event::Evaluated { done, evaluation, .. } => self.evaluated(done, evaluation),
            Event::Checkpointed { .. } => {}
            Event::Alarm(text) => self.bar.suspend(|| complain("alarm", text)),
            Event::Note(text) => self.bar.suspend(|| complain("note", text)),
        }
    }

    fn stop_requested(&self) -> bool {
        interrupt::requested()
    }
}

/// The few numbers that tell whether a run goes well.
fn numbers(metrics: &Metrics) -> String {
    let mut out = String::new();
    let mut put = |name: &str, text: Option<String>| {
        out.push_str(&text.map_or_else(String::new, |text| format!("  {name} {text}")));
    };
    let get = |name: &str| metrics.get(name).copied();
    put("reward", get("reward").map(|v| format!("{v:.3}")));
    let saved = get("flat_tokens").zip(get("unique_tokens"));
    put("F/U", saved.map(|(flat, unique)| format!("{:.2}", flat / unique.max(1.0))));
    put("loss", get("loss").map(|v| format!("{v:.4}")));
    put("margin", get("margin").map(|v| format!("{v:.3}")));
    put("tokens/s", get("sampled_tokens_per_second").map(|v| format!("{v:.0}")));
    out
}

/// Answers shown of an evaluation.
const SHOWN: usize = 3;

/// The first answers, each under its question.
pub(crate) fn samples(evaluation: &Evaluation) -> String {
    let room = width().saturating_sub(14).max(20);
    let mut out = String::new();
    for sample in evaluation.samples.iter().take(SHOWN) {
        let verdict = match &sample.verdict {
            Verdict::Scored { reward, .. } => format!("{reward:.2}"),
            Verdict::Unscored(reason) => reason.label().to_owned(),
            Verdict::Pending => "pending".to_owned(),
        };
        let answer = wrapped(&sample.answer, room, 4).join("\n             ");
        out.push_str(&format!(
            "    question {}\n      answer {answer}\n      reward {verdict}\n",
            shortened(&sample.question, room),
        ));
    }
    out
}
