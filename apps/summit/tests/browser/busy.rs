//! A farm in the middle of its work: all recipes of the data pack queued, four agents, some builds done, some failed, some
//! that run, with logs as builds write them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use package::{ManifestFile, PackageMeta};
use testkit::Browser;
use wire::summit::{FailureClass, Order};

use crate::agent::{Agent, failed};
use crate::fixture::Farm;

/// The four builders, and how many builds each does at once.
pub const BUILDERS: [(&str, u32); 4] = [("ada", 4), ("bea", 2), ("cleo", 2), ("dora", 1)];

/// Builds that are published before anybody looks.
const PUBLISHED: usize = 14;

/// Longest wait for what a Summit that was not optimised does with so many recipes.
const PATIENCE: Duration = Duration::from_secs(300);

pub struct Busy {
    pub farm: Farm,
    /// In the order of [`BUILDERS`].
    pub agents: Vec<Agent>,
    /// Builds that run: whose agent, which order, how long its log is.
    pub running: Vec<Running>,
    /// A task whose build failed, and the attempt.
    pub failed: (u64, u64),
    /// The address of a task that is blocked.
    pub blocked: String,
    /// A recipe of which something is published.
    pub published: String,
}

pub struct Running {
    pub agent: usize,
    pub order: Order,
    pub log_size_bytes: u64,
}

impl Busy {
    /// The farm; none, after saying so, where there are no data or no git.
    pub async fn start() -> Option<Self> {
        let mut farm = Farm::prepare(&[("placeholder", "")]).await?;
        unpack(&farm)?;
        // Without all packages that its manifest promises a recipe would be built again at once.
        farm.vessel.packages(promised(&farm.recipes()));
        farm.commit(&[]);
        farm.call_builders(&BUILDERS.map(|(name, _)| name));
        // The clock goes forward by hours at once.
        farm.lease_seconds = 30 * 86_400;
        farm.run().await;
        let begin = Instant::now();
        while farm.get("/api/status").await["recipes"].as_u64().unwrap() < 1341 {
            assert!(begin.elapsed() < PATIENCE, "the recipes are never read");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let mut agents = Vec::new();
        for (name, slots) in BUILDERS {
            agents.push(farm.attach(name, slots, &[]).await);
        }
        let mut busy = Self {
            farm,
            agents,
            running: Vec::new(),
            failed: (0, 0),
            blocked: String::new(),
            published: String::new(),
        };
        for _ in 0..PUBLISHED {
            busy.publish_one().await;
        }
        busy.fail_one().await;
        busy.fill().await;
        let blocked = &busy.farm.get("/api/tasks?phase=blocked&sort=newest&per_page=1").await["tasks"][0];
        busy.blocked = format!("/tasks/{}", blocked["id"]);
        Some(busy)
    }

    /// The address of a page.
    pub fn address(&self, path: &str) -> String {
        format!("http://{}{path}", self.farm.http)
    }

    /// Opens a page of it.
    pub fn open(&self, browser: &Browser, path: &str) {
        browser.open(&self.address(path));
    }

    /// Lets whoever has work build, until one build is published.
    async fn publish_one(&mut self) {
        let order = self.agents[0].order().await;
        self.begin(0, &order).await;
        self.farm.clock.advance(Duration::from_secs(70 + order.attempt_id * 37 % 400));
        self.agents[0].build_and_publish(&self.farm.vessel, &order).await;
        self.published = order.source_name;
    }

    /// One build that does not compile.
    async fn fail_one(&mut self) {
        let order = self.agents[0].order().await;
        let offset = self.begin(0, &order).await;
        self.agents[0].log(&order, offset, compilation("src/main.c", true).as_bytes()).await;
        self.farm.clock.advance(Duration::from_secs(95));
        self.agents[0].send(failed(&order, FailureClass::Build, "make ended with status 2", "build")).await;
        self.agents[0].released(order.attempt_id).await;
        self.failed = (order.task_id, order.attempt_id);
    }

    /// Every place of every builder gets something to do.
    async fn fill(&mut self) {
        for (agent, (_, slots)) in BUILDERS.iter().enumerate() {
            for _ in 0..*slots {
                let order = self.agents[agent].order().await;
                let offset = self.begin(agent, &order).await;
                let log = compilation(&format!("src/{}.c", order.source_name), false);
                let log_size_bytes = self.agents[agent].log(&order, offset, log.as_bytes()).await;
                self.running.push(Running { agent, order, log_size_bytes });
                self.farm.clock.advance(Duration::from_secs(23));
            }
        }
    }

    async fn begin(&mut self, agent: usize, order: &Order) -> u64 {
        self.agents[agent].started(order).await;
        self.agents[agent].log(order, 0, preparation(&order.source_name).as_bytes()).await
    }

    /// One line more in the log of the first build that runs.
    pub async fn say(&mut self, line: &str) {
        let running = &mut self.running[0];
        let agent = &mut self.agents[running.agent];
        running.log_size_bytes = agent.log(&running.order, running.log_size_bytes, line.as_bytes()).await;
    }
}

/// Unpacks the recipes of the data pack where the farm has its own; none, after saying so, where there are none.
fn unpack(farm: &Farm) -> Option<()> {
    let path = testkit::data()?.join("recipes-dev.tar.zst");
    let Ok(packed) = fs_err::File::open(path) else {
        testkit::skip("recipes-dev.tar.zst");
        return None;
    };
    let mut archive = tar::Archive::new(zstd::Decoder::new(packed).unwrap());
    let unpacked = tempfile::tempdir().unwrap();
    archive.unpack(unpacked.path()).unwrap();
    fs_err::remove_dir_all(farm.recipes()).ok();
    // Both are below the folder for temporary files.
    fs_err::rename(unpacked.path().join("recipes-dev/recipes"), farm.recipes()).unwrap();
    Some(())
}

/// The packages that the manifests beside the recipes promise.
fn promised(recipes: &Path) -> Vec<PackageMeta> {
    let folders = |folder: &Path| -> Vec<PathBuf> {
        fs_err::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_dir())
            .collect()
    };
    let recipes = folders(recipes).iter().flat_map(|letter| folders(letter)).collect::<Vec<_>>();
    let manifests =
        recipes.iter().filter_map(|recipe| fs_err::File::open(recipe.join("manifest.x86_64.bin")).ok());
    manifests
        .filter_map(|manifest| ManifestFile::read(manifest, &stone::Limits::small()).ok())
        .flat_map(ManifestFile::into_packages)
        .collect()
}

fn preparation(name: &str) -> String {
    let mut text = format!("==> phase root\ninstalling 214 packages for {name}\n");
    for number in 1..40 {
        text.push_str(&format!("  \x1b[32m+\x1b[0m package-{number}-1.{number}.0-3\n"));
    }
    text.push_str(
        "==> phase setup\n\x1b[1mchecking for a C compiler\x1b[0m... yes\nchecking for stdint.h... yes\n",
    );
    for number in 1..60 {
        text.push_str(&format!("checking for function number_{number}... \x1b[36myes\x1b[0m\n"));
    }
    text
}

fn compilation(broken: &str, breaks: bool) -> String {
    let mut text = "==> phase build\n".to_owned();
    for number in 1..180 {
        text.push_str(&format!(
            "[{number:3}/412] \x1b[35mcc\x1b[0m -O2 -c src/part_{number}.c -o part_{number}.o\n"
        ));
        if number == 60 {
            text.push_str(
                "src/part_60.c:12:5: \x1b[33mwarning:\x1b[0m unused variable 'errors' [-Wunused-variable]\n",
            );
        }
        if number == 140 && breaks {
            text.push_str(&format!(
                "\x1b[1m{broken}:118:21:\x1b[0m \x1b[1;31merror:\x1b[0m implicit declaration of function 'frobnicate' \
                 [\x1b[1;31m-Wimplicit-function-declaration\x1b[0m]\n  118 |     int result = \x1b[1;31mfrobnicate\x1b[0m(buffer);\n      |                  \x1b[1;31m^~~~~~~~~~\x1b[0m\n"
            ));
        }
    }
    if breaks {
        text.push_str(
            "make[1]: *** [Makefile:812: src/main.o] Error 1\nmake: *** [Makefile:410: all] Error 2\n",
        );
    }
    text
}
