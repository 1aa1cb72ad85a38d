//! From what repositories offer and what is installed to what the resolver chooses among, and back.

use std::cmp::Reverse;
use std::collections::HashMap;

use fetch::Location;
use package::PackageMeta;
use repository::RepositorySource;
use system::resolve::{Candidate, Source};
use system::{PackageId, PackageIdError, Release};

use crate::acquire::Wanted;
use crate::refresh::Offer;

/// The packages of some repositories, by digest.
pub(crate) struct Catalog<'a> {
    pub(crate) sources: Vec<Source>,
    by_id: HashMap<PackageId, (&'a Offer, &'a PackageMeta)>,
}

impl<'a> Catalog<'a> {
    /// The preferred repository counts for a package that several have.
    pub(crate) fn new(offers: &'a [Offer]) -> Result<Self, PackageIdError> {
        let mut order: Vec<&Offer> = offers.iter().collect();
        order.sort_by_key(|offer| Reverse(offer.repository.priority));
        let mut catalog = Self { sources: Vec::new(), by_id: HashMap::new() };
        for offer in order {
            let mut candidates = Vec::with_capacity(offer.packages.len());
            for meta in &offer.packages {
                let id: PackageId = meta.hash.as_deref().unwrap_or_default().parse()?;
                candidates.push(candidate(id.clone(), meta));
                catalog.by_id.entry(id).or_insert((offer, meta));
            }
            catalog.sources.push(Source {
                name: offer.repository.id.clone(),
                priority: offer.repository.priority,
                candidates,
            });
        }
        Ok(catalog)
    }

    /// Where the package is; none when no repository has it.
    pub(crate) fn wanted(&self, id: &PackageId) -> Option<Result<Wanted, repository::UrlError>> {
        let (offer, meta) = self.by_id.get(id)?;
        let address = repository::package_url(&offer.index_url, meta.uri.as_deref().unwrap_or_default());
        Some(address.map(|address| Wanted {
            id: id.clone(),
            meta: (*meta).clone(),
            locations: locations(offer, address),
        }))
    }
}

/// The same file at the repository and at each of its mirrors.
fn locations(offer: &Offer, address: String) -> Vec<Location> {
    let base = match &offer.repository.source {
        RepositorySource::Versioned { base_uri, .. } => base_uri.clone(),
        RepositorySource::Direct { uri } => repository::package_base(uri).unwrap_or_default(),
    };
    let base = base.trim_end_matches('/').to_owned();
    let rest = address.strip_prefix(&base).filter(|rest| rest.starts_with('/')).map(str::to_owned);
    let mut locations = vec![Location { place: base, url: address }];
    if let Some(rest) = rest {
        locations.extend(offer.repository.mirrors.iter().map(|mirror| Location {
            place: mirror.clone(),
            url: format!("{}{rest}", mirror.trim_end_matches('/')),
        }));
    }
    locations
}

/// What the resolver must know about a package.
pub(crate) fn candidate(id: PackageId, meta: &PackageMeta) -> Candidate {
    Candidate {
        id,
        name: meta.name.clone(),
        version: meta.version.clone(),
        release: Release::new(meta.release, meta.build_release),
        depends: meta.depends.iter().cloned().collect(),
        provides: meta.provides.iter().cloned().collect(),
        conflicts: meta.conflicts.iter().cloned().collect(),
    }
}
