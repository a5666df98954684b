//! The tables `[gateway]` of all layers, which the library keeps unread.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::problem::Layer;
use crate::config::read::table::{Table, kind};
use crate::config::settings::setting::Field;

/// The tables `[gateway]`, lowest layer first. They are not merged, because a program that reads
/// them needs the file and the folder of each setting.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct GatewayLayers(pub(crate) Vec<GatewayLayer>);

/// The table `[gateway]` of one layer.
#[derive(Clone, PartialEq)]
pub(crate) struct GatewayLayer {
    pub(crate) layer: Layer,
    pub(crate) file: String,
    /// Base folder of relative paths.
    pub(crate) folder: PathBuf,
    /// The table as JSON text, which is much smaller than a tree.
    pub(crate) json: Arc<str>,
}

impl Field for GatewayLayers {
    fn take(table: &mut Table<'_>, name: &'static str) -> Self {
        let Some(value) = table.value(name) else {
            return Self::default();
        };
        if !value.is_object() {
            table.problem(name, format!("expected a table, found {}", kind(&value)));
            return Self::default();
        }
        Self(vec![GatewayLayer {
            layer: table.problems.layer(),
            file: table.problems.file().to_owned(),
            folder: table.folder.to_owned(),
            json: value.to_string().into(),
        }])
    }

    fn overlay(&mut self, upper: &Self) {
        self.0.extend_from_slice(&upper.0);
    }
}

/// Shows only the files, because a value may be a misplaced key.
impl fmt::Debug for GatewayLayers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|layer| &layer.file)).finish()
    }
}
