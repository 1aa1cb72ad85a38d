//! Hosts whose plain indexes became versioned repositories: those that are known, and those that files name.
//!
//! One node for each host in `moved.d/*.kdl`, below `usr/share/moss` and `etc/moss`:
//!
//! ```kdl
//! packages.example.org {
//!     base-uri "https://packages.example.org"
//!     channel "main"
//! }
//! ```

use std::path::Path;

use kdl::KdlNode;
use repository::transition::HostRule;
use repository::{Identifier, check_base_uri};

use super::{Form, PLACES, RepositoriesError, configuration_files, kdl_form};

/// The folder in each place.
const FOLDER: &str = "moved.d";

/// Hosts of AerynOS that had plain indexes first; the versioned repositories are on the same hosts.
const KNOWN_HOSTS: [&str; 6] = [
    "dev.serpentos.com",
    "packages.aerynos.com",
    "cdn.aerynos.dev",
    "packages.aerynos.dev",
    "build.aerynos.dev",
    "infratest.aerynos.dev",
];

/// All rules of a root, those of the administrator first.
pub(crate) fn host_rules(root: &Path) -> Result<Vec<HostRule>, RepositoriesError> {
    let mut rules = Vec::new();
    for place in PLACES.into_iter().rev() {
        let files = configuration_files(&root.join(place).join(FOLDER))?;
        for (path, _) in files.into_iter().filter(|(_, form)| *form == Form::Kdl) {
            let document = kdl_form::document(&path, &super::read_text(&path)?)?;
            for node in document.nodes() {
                rules.push(rule(&path, node)?);
            }
        }
    }
    let main: Result<Identifier, _> = "main".parse();
    rules.extend(KNOWN_HOSTS.iter().filter_map(|host| {
        Some(HostRule { host: (*host).to_owned(), base_uri: None, channel: main.clone().ok()? })
    }));
    Ok(rules)
}

fn rule(path: &Path, node: &KdlNode) -> Result<HostRule, RepositoriesError> {
    let host = node.name().value().to_owned();
    let refuse = |reason: String| RepositoriesError::Syntax { path: path.to_path_buf(), line: 1, reason };
    let text = |key: &str| {
        let value = node.children().and_then(|children| children.get_arg(key));
        value
            .map(|value| value.as_string().ok_or_else(|| refuse(format!("the {key} of {host} must be text"))))
            .transpose()
    };
    let base_uri = text("base-uri")?.map(check_base_uri).transpose();
    let base_uri = base_uri.map_err(|source| RepositoriesError::Rule { path: path.to_path_buf(), source })?;
    let channel = text("channel")?.unwrap_or("main").parse();
    let channel = channel.map_err(|error| refuse(format!("of {host}: {error}")))?;
    Ok(HostRule { base_uri, channel, host: host.clone() })
}
