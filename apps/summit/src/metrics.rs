//! What Summit counts of itself, for Prometheus. Names are part of what operators rely on: docs/operating.md lists them.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use farm::failure::FailureClass;
use farm::task::Phase;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Class {
    class: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Project {
    project: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Tasks {
    project: String,
    phase: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Delivery {
    webhook: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Loop {
    part: &'static str,
}

/// Seconds, as gauges have them.
type Seconds = Gauge<f64, AtomicU64>;

fn seconds() -> Histogram {
    // From a millisecond to half a minute.
    Histogram::new(exponential_buckets(0.001, 2.0, 16))
}

fn build_seconds() -> Histogram {
    // From a second to a day.
    Histogram::new(exponential_buckets(1.0, 2.5, 13))
}

/// What is counted as it happens, and what is looked up when somebody asks.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    request_seconds: Family<Route, Histogram, fn() -> Histogram>,
    attempts: Family<Class, Counter>,
    build_seconds: Histogram,
    log_bytes: Counter,
    look_seconds: Family<Project, Histogram, fn() -> Histogram>,
    webhooks: Family<Delivery, Counter>,
    passes: Mutex<Vec<(&'static str, Instant)>>,
    pass_age: Family<Loop, Seconds>,
    tasks: Family<Tasks, Gauge>,
    oldest_ready: Seconds,
    builders: Family<State, Gauge>,
    slots: Family<State, Gauge>,
}

/// What is looked up when somebody asks.
#[derive(Debug, Default)]
pub(crate) struct Now {
    pub(crate) tasks: Vec<(String, Phase, u64)>,
    pub(crate) oldest_ready_seconds: f64,
    pub(crate) builders: [(&'static str, usize); 3],
    pub(crate) slots: [(&'static str, usize); 2],
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("summit"),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds),
            attempts: Family::default(),
            build_seconds: build_seconds(),
            log_bytes: Counter::default(),
            look_seconds: Family::new_with_constructor(seconds),
            webhooks: Family::default(),
            passes: Mutex::default(),
            pass_age: Family::default(),
            tasks: Family::default(),
            oldest_ready: Seconds::default(),
            builders: Family::default(),
            slots: Family::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let leading = Gauge::<i64>::default();
        leading.set(1);
        let registry = &mut self.registry;
        registry.register("leading", "Whether this Summit leads", leading);
        registry.register("tasks", "Tasks by project and phase", self.tasks.clone());
        registry.register(
            "oldest_ready_seconds",
            "How long the oldest task that could start has waited for a place",
            self.oldest_ready.clone(),
        );
        registry.register("builders", "Builders by state: known, attached, drained", self.builders.clone());
        registry.register("slots", "Places of attached builders: all, busy", self.slots.clone());
        registry.register(
            "build_duration_seconds",
            "Builds that reached their end",
            self.build_seconds.clone(),
        );
        registry.register(
            "attempts",
            "Attempts that ended, by class; built is a success",
            self.attempts.clone(),
        );
        registry.register("log_bytes", "Bytes of logs that came from builders", self.log_bytes.clone());
        registry.register("http_requests", "HTTP requests by route and status", self.requests.clone());
        registry.register(
            "http_request_duration_seconds",
            "Time to the head of an answer, by route",
            self.request_seconds.clone(),
        );
        registry.register(
            "look_duration_seconds",
            "Looks at recipes and repositories",
            self.look_seconds.clone(),
        );
        registry.register(
            "loop_pass_age_seconds",
            "Time since each loop of Summit came round last",
            self.pass_age.clone(),
        );
        registry.register("webhook_deliveries", "Tries to tell a webhook, by outcome", self.webhooks.clone());
    }

    pub(crate) fn request(&self, route: &'static str, status: u16, took: Duration) {
        self.requests.get_or_create(&Request { route, status }).inc();
        self.request_seconds.get_or_create(&Route { route }).observe(took.as_secs_f64());
    }

    /// An attempt failed.
    pub(crate) fn broke(&self, class: FailureClass) {
        self.attempts.get_or_create(&Class { class: class.to_string() }).inc();
    }

    /// An attempt was built, in so many seconds.
    pub(crate) fn built(&self, seconds: f64) {
        self.attempts.get_or_create(&Class { class: "built".into() }).inc();
        self.build_seconds.observe(seconds);
    }

    pub(crate) fn log(&self, size_bytes: usize) {
        self.log_bytes.inc_by(u64::try_from(size_bytes).unwrap_or(u64::MAX));
    }

    pub(crate) fn looked(&self, project: &str, took: Duration) {
        self.look_seconds.get_or_create(&Project { project: project.into() }).observe(took.as_secs_f64());
    }

    pub(crate) fn webhook(&self, webhook: &str, outcome: &'static str) {
        self.webhooks.get_or_create(&Delivery { webhook: webhook.into(), outcome }).inc();
    }

    /// A loop came round.
    pub(crate) fn passed(&self, part: &'static str) {
        let mut passes = self.passes.lock().unwrap_or_else(PoisonError::into_inner);
        match passes.iter_mut().find(|(known, _)| *known == part) {
            Some(pass) => pass.1 = Instant::now(),
            None => passes.push((part, Instant::now())),
        }
    }

    /// All of it, as Prometheus reads it (OpenMetrics 1.0).
    pub(crate) fn text(&self, now: &Now) -> String {
        for (part, at) in self.passes.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            self.pass_age.get_or_create(&Loop { part }).set(at.elapsed().as_secs_f64());
        }
        self.tasks.clear();
        for (project, phase, count) in &now.tasks {
            let labels = Tasks { project: project.clone(), phase: phase.keyword() };
            self.tasks.get_or_create(&labels).set(i64::try_from(*count).unwrap_or(i64::MAX));
        }
        self.oldest_ready.set(now.oldest_ready_seconds);
        for (family, counts) in [(&self.builders, &now.builders[..]), (&self.slots, &now.slots[..])] {
            for (state, count) in counts {
                family.get_or_create(&State { state }).set(i64::try_from(*count).unwrap_or(i64::MAX));
            }
        }
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.registry) {
            tracing::error!(%error, "cannot write the metrics");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_of_the_example_alerts_is_there_and_every_name_is_documented() {
        let metrics = Metrics::default();
        metrics.request("status", 200, Duration::from_millis(3));
        metrics.broke(FailureClass::Lost);
        metrics.built(12.0);
        metrics.log(10);
        metrics.looked("main", Duration::from_secs(1));
        metrics.webhook("chat", "failed");
        metrics.passed("dispatcher");
        let now = Now {
            tasks: vec![("main".into(), Phase::Ready, 3)],
            oldest_ready_seconds: 7.0,
            builders: [("known", 2), ("attached", 1), ("drained", 0)],
            slots: [("all", 4), ("busy", 1)],
        };
        let text = metrics.text(&now);
        assert!(text.ends_with("# EOF\n"), "{text}");
        assert!(text.contains("summit_tasks{project=\"main\",phase=\"ready\"} 3"), "{text}");
        assert!(text.contains("summit_attempts_total{class=\"lost\"} 1"), "{text}");
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let alerts = fs_err::read_to_string(root.join("examples/prometheus-alerts.yml")).unwrap();
        let guide = fs_err::read_to_string(root.join("docs/operating.md")).unwrap();
        let names: std::collections::BTreeSet<&str> = alerts
            .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
            .filter(|word| word.starts_with("summit_"))
            .collect();
        assert!(names.len() > 5, "{names:?}");
        for name in names {
            assert!(text.contains(&format!("\n{name}")), "{name} of the alerts is no metric:\n{text}");
        }
        for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let name = line.split(' ').next().unwrap();
            assert!(guide.contains(&format!("`{name}")), "{name} is not in docs/operating.md");
        }
    }
}
