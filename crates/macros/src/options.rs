//! The options of the attribute.

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Error, Expr, Ident, LitStr, Path, Result, Token, parenthesized};

use crate::returns::Kind;

/// Parses an option after its name.
type ParseOption = fn(&mut Options, &Ident, ParseStream<'_>) -> Result<()>;

/// Name and parser of each option. The error for an unknown option lists the names in this order.
const OPTIONS: [(&str, ParseOption); 16] = [
    ("name", |options, _, input| assign(&mut options.name, input)),
    ("event_type", |options, _, input| {
        options.event_type = Some(event_type(&assigned_word(input)?)?);
        Ok(())
    }),
    ("tracer", |options, _, input| assign(&mut options.tracer, input)),
    ("registry", |options, _, input| assign(&mut options.registry, input)),
    ("tenant", |options, _, input| assign(&mut options.tenant, input)),
    ("feature", |options, _, input| assign(&mut options.feature, input)),
    ("environment", |options, _, input| {
        assign(&mut options.environment, input)
    }),
    ("session", |options, _, input| assign(&mut options.session, input)),
    ("capture", |options, _, input| options.capture(&assigned_word(input)?)),
    ("skip", |options, _, input| {
        options.skip = names(input)?;
        Ok(())
    }),
    ("skip_all", |options, _, _| {
        options.skip_all = true;
        Ok(())
    }),
    ("redact", |options, _, input| {
        options.redact = names(input)?;
        Ok(())
    }),
    ("fields", |options, _, input| {
        options.fields = list(input)?;
        Ok(())
    }),
    ("err", |options, name, _| {
        options.err = Some(name.span());
        Ok(())
    }),
    ("returns", |options, _, input| {
        options.returns = Some(returns(&assigned_word(input)?)?);
        Ok(())
    }),
    ("crate", |options, _, input| {
        input.parse::<Token![=]>()?;
        options.krate = Some(input.call(Path::parse_mod_style)?);
        Ok(())
    }),
];

/// The parsed attribute.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) name: Option<Expr>,
    /// A variant of `EventType`.
    pub(crate) event_type: Option<Ident>,
    pub(crate) tracer: Option<Expr>,
    pub(crate) registry: Option<Expr>,
    pub(crate) tenant: Option<Expr>,
    pub(crate) feature: Option<Expr>,
    pub(crate) environment: Option<Expr>,
    pub(crate) session: Option<Expr>,
    pub(crate) captures_inputs: bool,
    /// The location of the word that requests outputs.
    pub(crate) captures_outputs: Option<Span>,
    pub(crate) skip: Vec<Ident>,
    pub(crate) skip_all: bool,
    pub(crate) redact: Vec<Ident>,
    pub(crate) fields: Vec<Field>,
    pub(crate) err: Option<Span>,
    pub(crate) returns: Option<(Kind, Span)>,
    pub(crate) krate: Option<Path>,
    seen: Vec<Ident>,
}

/// An attribute of the span.
pub(crate) struct Field {
    pub(crate) key: LitStr,
    pub(crate) value: Expr,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut options = Self::default();
        while !input.is_empty() {
            options.parse_option(input)?;
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        options.check()?;
        Ok(options)
    }
}

impl Options {
    fn parse_option(&mut self, input: ParseStream<'_>) -> Result<()> {
        let option = Ident::parse_any(input)?;
        if self.seen.contains(&option) {
            return Err(Error::new(option.span(), format!("duplicate option `{option}`")));
        }
        let Some((_, parse)) = OPTIONS.iter().find(|(name, _)| option == name) else {
            let names = OPTIONS.map(|(name, _)| name).join(", ");
            return Err(Error::new(
                option.span(),
                format!("unknown option `{option}`: expected one of {names}"),
            ));
        };
        parse(self, &option, input)?;
        self.seen.push(option);
        Ok(())
    }

    fn capture(&mut self, word: &Ident) -> Result<()> {
        let (inputs, outputs) = match word.to_string().as_str() {
            "inputs" => (true, false),
            "outputs" => (false, true),
            "both" => (true, true),
            "none" => (false, false),
            _ => return Err(invalid(word, "capture", "inputs, outputs, both, none")),
        };
        self.captures_inputs = inputs;
        self.captures_outputs = outputs.then(|| word.span());
        Ok(())
    }

    /// Returns whether an option may use an argument of the function.
    pub(crate) fn may_use_arguments(&self) -> bool {
        let mut expressions = [
            &self.name,
            &self.tracer,
            &self.registry,
            &self.tenant,
            &self.feature,
            &self.environment,
            &self.session,
        ]
        .into_iter();
        self.captures_inputs || !self.fields.is_empty() || expressions.any(Option::is_some)
    }

    /// Rejects options that contradict each other.
    fn check(&self) -> Result<()> {
        let has_selector = self.tenant.is_some() || self.feature.is_some() || self.environment.is_some();
        for option in &self.seen {
            let message = match option.to_string().as_str() {
                "tenant" | "feature" | "environment" | "registry" if self.tracer.is_some() => {
                    format!("`{option}` conflicts with `tracer`")
                }
                "registry" if !has_selector => "`registry` requires `tenant`, `feature` or `environment`".to_owned(),
                "skip" | "redact" if !self.captures_inputs => {
                    format!("`{option}` requires `capture = inputs` or `capture = both`")
                }
                "skip" | "redact" if self.skip_all => format!("`{option}` conflicts with `skip_all`"),
                _ => continue,
            };
            return Err(Error::new(option.span(), message));
        }
        Ok(())
    }
}

impl Parse for Field {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let key = if input.peek(LitStr) {
            input.parse()?
        } else {
            let parts = Punctuated::<Ident, Token![.]>::parse_separated_nonempty_with(input, Ident::parse_any)?;
            let text: Vec<String> = parts.iter().map(|part| part.unraw().to_string()).collect();
            LitStr::new(&text.join("."), parts[0].span())
        };
        Ok(Self {
            key,
            value: assigned(input)?,
        })
    }
}

fn assign(to: &mut Option<Expr>, input: ParseStream<'_>) -> Result<()> {
    *to = Some(assigned(input)?);
    Ok(())
}

fn assigned(input: ParseStream<'_>) -> Result<Expr> {
    input.parse::<Token![=]>()?;
    input.parse()
}

fn assigned_word(input: ParseStream<'_>) -> Result<Ident> {
    input.parse::<Token![=]>()?;
    Ident::parse_any(input)
}

fn list<T: Parse>(input: ParseStream<'_>) -> Result<Vec<T>> {
    let content;
    parenthesized!(content in input);
    Ok(Punctuated::<T, Token![,]>::parse_terminated(&content)?
        .into_iter()
        .collect())
}

fn names(input: ParseStream<'_>) -> Result<Vec<Ident>> {
    let content;
    parenthesized!(content in input);
    let names = Punctuated::<Ident, Token![,]>::parse_terminated_with(&content, Ident::parse_any)?;
    Ok(names.into_iter().collect())
}

fn event_type(word: &Ident) -> Result<Ident> {
    let variant = match word.to_string().as_str() {
        "model" => "Model",
        "tool" => "Tool",
        "chain" => "Chain",
        _ => return Err(invalid(word, "event_type", "model, tool, chain")),
    };
    Ok(Ident::new(variant, Span::mixed_site()))
}

fn returns(word: &Ident) -> Result<(Kind, Span)> {
    let kind = match word.to_string().as_str() {
        "value" => Kind::Value,
        "future" => Kind::Future,
        "stream" => Kind::Stream,
        "iterator" => Kind::Iterator,
        _ => return Err(invalid(word, "returns", "value, future, stream, iterator")),
    };
    Ok((kind, word.span()))
}

fn invalid(word: &Ident, option: &str, expected: &str) -> Error {
    Error::new(
        word.span(),
        format!("invalid value `{word}` for `{option}`: expected one of {expected}"),
    )
}
