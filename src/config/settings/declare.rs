//! Macros that declare configuration tables, with each setting defined in one place.

/// Declares a table: its type, parsing, overlay and checks.
///
/// The type of a field is a [`Field`](super::setting::Field). Attributes of fields, in this order:
/// - `#[schema(..)]`: passed to schemars;
/// - `#[untrusted(how)]`: an untrusted layer may set it `free`ly, if it is `checked`, or to less
///   than the lower tables (`lowered`). Without this attribute or `#[max]`, an untrusted layer may
///   not set it;
/// - `#[take(function)]`: parses it, instead of the type's own function;
/// - `#[max(value)]`: value if no table sets it; an untrusted layer may only lower it;
/// - `#[rule(function)]`, or `#[limit(function)]` for `Copy` values: returns a message for an
///   invalid value.
///
/// Fields with `#[state]` come last and are not settings. A table is also a
/// [`Field`](super::setting::Field), and may be optional as one. It is overlaid field by field, or
/// with the function of `#[overlay(function)]`.
macro_rules! table {
    (
        $(#[doc = $doc:literal])+
        #[derive($($derive:ident),+)]
        $(#[schema($($schema:tt)*)])?
        $(#[overlay($overlay:path)])?
        $vis:vis struct $Table:ident {
            $(
                $(#[doc = $field_doc:literal])+
                $(#[schema($($field_schema:tt)*)])?
                $(#[untrusted($allowed:ident)])?
                $(#[take($take:path)])?
                $(#[max($max:expr)])?
                $(#[rule($rule:path)])?
                $(#[limit($limit:path)])?
                $field_vis:vis $field:ident: $Type:ty,
            )*
            $(#[state] $(#[doc = $state_doc:literal])+ pub(crate) $state:ident: $State:ty,)*
        }
    ) => {
        $(#[doc = $doc])+
        #[derive($($derive),+)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[cfg_attr(feature = "schema", schemars(deny_unknown_fields $(, $($schema)*)?))]
        $vis struct $Table {
            $(
                $(#[doc = $field_doc])+
                #[cfg_attr(feature = "schema", schemars(default $(, $($field_schema)*)?))]
                $field_vis $field: $Type,
            )*
            $(
                $(#[doc = $state_doc])+
                #[cfg_attr(feature = "schema", schemars(skip))]
                pub(crate) $state: $State,
            )*
        }

        impl $crate::config::settings::setting::Fields for $Table {
            fn take_fields(table: &mut $crate::config::read::table::Table<'_>) -> Self {
                Self {
                    $($field: $crate::config::settings::declare::first!(
                        $($take,)? $crate::config::settings::setting::Field::take
                    )(table, stringify!($field)),)*
                    $($state: <$State>::default(),)*
                }
            }

            fn overlay_fields(&mut self, upper: &Self) {
                $($crate::config::settings::setting::Field::overlay(&mut self.$field, &upper.$field);)*
            }

            fn operator_only(&self) -> Vec<&'static str> {
                let fields = [$((
                    stringify!($field),
                    <[&str]>::is_empty(&[$(stringify!($allowed),)? $(stringify!($max),)?]) && self.$field != <$Type>::default(),
                ),)*];
                fields.into_iter().filter_map(|(field, is_refused)| is_refused.then_some(field)).collect()
            }

            fn raised(&self, lower: &Self) -> Vec<(&'static str, String)> {
                let raised: Vec<Option<(&'static str, String)>> = vec![$($({
                    let max = lower.$field.unwrap_or($max);
                    let is_raised = self.$field.is_some_and(|value| value > max);
                    is_raised.then(|| (stringify!($field), max.to_string()))
                },)?)*];
                let _ = lower;
                raised.into_iter().flatten().collect()
            }

            fn problems(&self) -> Vec<(&'static str, String)> {
                let problems: Vec<(&'static str, Option<String>)> = vec![$(
                    $((stringify!($field), self.$field.as_ref().and_then(|value| $rule(value))),)?
                    $((stringify!($field), self.$field.and_then($limit)),)?
                )*];
                problems.into_iter().filter_map(|(field, problem)| Some((field, problem?))).collect()
            }
        }

        impl $crate::config::settings::setting::Field for $Table {
            fn take(table: &mut $crate::config::read::table::Table<'_>, name: &'static str) -> Self {
                $crate::config::settings::setting::Setting::take(table, name).unwrap_or_default()
            }

            fn overlay(&mut self, upper: &Self) {
                $crate::config::settings::declare::first!(
                    $($overlay,)? $crate::config::settings::setting::Fields::overlay_fields
                )(self, upper);
            }
        }

        impl $crate::config::settings::setting::Setting for $Table {
            fn take(table: &mut $crate::config::read::table::Table<'_>, name: &'static str) -> Option<Self> {
                table.table(name, $crate::config::settings::setting::Fields::take_fields)
            }

            fn overlay_onto(&self, lower: &mut Option<Self>) {
                $crate::config::settings::setting::Field::overlay(lower.get_or_insert_default(), self);
            }
        }
    };
}

/// Declares a [`table!`] of the whole registry at a path, and its settings type with all defaults
/// filled in.
///
/// Fields have `#[default(value)]` or `#[default(value, rule)]`. Fields without a default follow, with
/// `#[optional]`. Nested tables come last, with `#[inner(Settings)]`.
macro_rules! settings {
    (
        $(#[doc = $doc:literal])+
        #[derive($($derive:ident),+)]
        #[at($path:literal)]
        $vis:vis struct $Table:ident {
            $(
                $(#[doc = $field_doc:literal])+
                $(#[schema($($field_schema:tt)*)])?
                $(#[take($take:path)])?
                #[default($default:expr $(, $rule:path)?)]
                $field_vis:vis $field:ident: Option<$Type:ty>,
            )*
            $(
                #[optional]
                $(#[doc = $optional_doc:literal])+
                $(#[schema($($optional_schema:tt)*)])?
                $(#[take($optional_take:path)])?
                $(#[rule($optional_rule:path)])?
                $(#[limit($optional_limit:path)])?
                $optional_vis:vis $optional:ident: Option<$OptionalType:ty>,
            )*
            $(#[inner($InnerSettings:ident)] $(#[doc = $inner_doc:literal])+ pub $inner:ident: $Inner:ident,)*
        }

        $(#[doc = $settings_doc:literal])+
        $settings_vis:vis struct $Settings:ident;
    ) => {
        $crate::config::settings::declare::table! {
            $(#[doc = $doc])+
            #[derive($($derive),+)]
            $vis struct $Table {
                $(
                    $(#[doc = $field_doc])+
                    $(#[schema($($field_schema)*)])?
                    $(#[take($take)])?
                    $(#[limit($rule)])?
                    $field_vis $field: Option<$Type>,
                )*
                $(
                    $(#[doc = $optional_doc])+
                    $(#[schema($($optional_schema)*)])?
                    $(#[take($optional_take)])?
                    $(#[rule($optional_rule)])?
                    $(#[limit($optional_limit)])?
                    $optional_vis $optional: Option<$OptionalType>,
                )*
                $(
                    $(#[doc = $inner_doc])+
                    pub $inner: $Inner,
                )*
            }
        }

        $(#[doc = $settings_doc])+
        #[derive(Clone, Debug, PartialEq, Eq)]
        $settings_vis struct $Settings {
            $($(#[doc = $field_doc])+ pub $field: $Type,)*
            $($(#[doc = $optional_doc])+ pub $optional: Option<$OptionalType>,)*
            $($(#[doc = $inner_doc])+ pub $inner: $InnerSettings,)*
        }

        impl $Table {
            pub(crate) fn settings(&self) -> $Settings {
                $Settings {
                    $($field: self.$field.unwrap_or($default),)*
                    $($optional: Option::clone(&self.$optional),)*
                    $($inner: self.$inner.settings(),)*
                }
            }
        }

        impl $Settings {
            /// Returns the name of each setting with a default, and its value in TOML. A setting with a
            /// function that parses it is a size.
            #[cfg(feature = "gateway")]
            pub(crate) fn effective(&self) -> Vec<(&'static str, String)> {
                let mut effective = vec![$((
                    concat!($path, ".", stringify!($field)),
                    $crate::config::settings::declare::first!(
                        $($crate::config::settings::written::size(self.$field, $take),)?
                        $crate::config::settings::written::Written::written(&self.$field)
                    ),
                ),)*];
                let inner: Vec<Vec<_>> = vec![$(self.$inner.effective(),)*];
                effective.extend(inner.into_iter().flatten());
                effective
            }

            /// Returns the names of the settings that differ.
            pub(crate) fn differing(&self, other: &Self) -> Vec<&'static str> {
                let fields = [
                    $((concat!($path, ".", stringify!($field)), self.$field == other.$field),)*
                    $((concat!($path, ".", stringify!($optional)), self.$optional == other.$optional),)*
                ];
                let differing = fields.into_iter().filter(|(_, is_same)| !is_same).map(|(field, _)| field);
                let inner: Vec<Vec<&str>> = vec![$(self.$inner.differing(&other.$inner),)*];
                differing.chain(inner.into_iter().flatten()).collect()
            }
        }
    };
}

macro_rules! first {
    ($first:expr $(, $rest:expr)*) => {
        $first
    };
}

pub(crate) use {first, settings, table};

#[cfg(test)]
mod tests {
    use crate::config::settings::setting::Fields as _;

    table! {
        /// A table with a setting that has no declaration for untrusted layers.
        #[derive(Clone, Debug, Default, PartialEq)]
        struct Example {
            /// Allowed.
            #[untrusted(free)]
            allowed: Option<u32>,
            /// Limited.
            #[max(1)]
            lowered: Option<u32>,
            /// Not declared.
            undeclared: Option<u32>,
        }
    }

    #[test]
    fn an_undeclared_setting_is_operator_only() {
        let mut example = Example {
            allowed: Some(1),
            lowered: Some(1),
            undeclared: None,
        };
        assert!(example.operator_only().is_empty());
        example.undeclared = Some(1);
        assert_eq!(example.operator_only(), ["undeclared"]);
    }
}
