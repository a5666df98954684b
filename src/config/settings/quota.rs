//! `quota`: how much a tenant or a caller may send.

use crate::config::rules::values::at_least_one;
use crate::config::settings::declare::table;
#[cfg(feature = "schema")]
use crate::config::settings::schema_types;
use crate::config::settings::setting::size;

table! {
    /// How much a tenant or a caller of the gateway may send. What is left out has no limit.
    ///
    /// Rates may be exceeded for a moment by a burst, which is what one second allows unless it is
    /// set. Days and months are those of UTC.
    #[derive(Clone, Debug, Default, PartialEq, Copy, Eq, Hash)]
    pub struct Quota {
        /// Maximum spans per second.
        #[max(usize::MAX)]
        #[limit(at_least_one)]
        pub spans_per_second: Option<usize>,
        /// Maximum spans at once. Default: `spans_per_second`.
        #[max(usize::MAX)]
        #[limit(at_least_one)]
        pub spans_burst: Option<usize>,
        /// Maximum bytes of spans per second, uncompressed.
        #[schema(with = "Option<schema_types::Size>")]
        #[take(size)]
        #[max(usize::MAX)]
        #[limit(at_least_one)]
        pub bytes_per_second: Option<usize>,
        /// Maximum bytes at once. Default: `bytes_per_second`.
        #[schema(with = "Option<schema_types::Size>")]
        #[take(size)]
        #[max(usize::MAX)]
        #[limit(at_least_one)]
        pub bytes_burst: Option<usize>,
        /// Maximum requests of clients per second. Applies only in the gateway.
        #[max(usize::MAX)]
        #[limit(at_least_one)]
        pub requests_per_second: Option<usize>,
        /// Maximum requests at once. Default: `requests_per_second`.
        #[max(usize::MAX)]
        #[limit(at_least_one)]
        pub requests_burst: Option<usize>,
        /// Maximum spans per day.
        #[max(usize::MAX)]
        #[limit(at_least_one)]
        pub spans_per_day: Option<usize>,
        /// Maximum bytes of spans per day, uncompressed.
        #[schema(with = "Option<schema_types::Size>")]
        #[take(size)]
        #[max(usize::MAX)]
        #[limit(at_least_one)]
        pub bytes_per_day: Option<usize>,
        /// Maximum spans per month.
        #[max(usize::MAX)]
        #[limit(at_least_one)]
        pub spans_per_month: Option<usize>,
        /// Maximum bytes of spans per month, uncompressed.
        #[schema(with = "Option<schema_types::Size>")]
        #[take(size)]
        #[max(usize::MAX)]
        #[limit(at_least_one)]
        pub bytes_per_month: Option<usize>,
    }
}

impl Quota {
    /// Returns the quota with each burst that follows from its rate filled in.
    pub(crate) fn with_bursts(mut self) -> Self {
        self.spans_burst = self.spans_burst.or(self.spans_per_second);
        self.bytes_burst = self.bytes_burst.or(self.bytes_per_second);
        self.requests_burst = self.requests_burst.or(self.requests_per_second);
        self
    }
}
