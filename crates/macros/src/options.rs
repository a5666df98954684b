//! The options of the attribute.

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Error, Expr, Ident, LitStr, Path, Result, Token, parenthesized};

use crate::returns::Kind;

/// All options, for the message of an unknown one.
const KNOWN: &str = "name, event_type, tracer, registry, tenant, feature, environment, session, capture, skip, skip_all, redact, fields, err, \
                     returns, crate";

/// The attribute as it was written.
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
    /// The word that asks for outputs.
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
            options.option(input)?;
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        options.check()?;
        Ok(options)
    }
}

impl Options {
    fn option(&mut self, input: ParseStream<'_>) -> Result<()> {
        let option = Ident::parse_any(input)?;
        if self.seen.contains(&option) {
            return Err(Error::new(option.span(), format!("`{option}` is given twice")));
        }
        self.seen.push(option.clone());
        match option.to_string().as_str() {
            "name" => self.name = Some(assigned(input)?),
            "event_type" => self.event_type = Some(event_type(&assigned_word(input)?)?),
            "tracer" => self.tracer = Some(assigned(input)?),
            "registry" => self.registry = Some(assigned(input)?),
            "tenant" => self.tenant = Some(assigned(input)?),
            "feature" => self.feature = Some(assigned(input)?),
            "environment" => self.environment = Some(assigned(input)?),
            "session" => self.session = Some(assigned(input)?),
            "capture" => self.capture(&assigned_word(input)?)?,
            "skip" => self.skip = names(input)?,
            "skip_all" => self.skip_all = true,
            "redact" => self.redact = names(input)?,
            "fields" => self.fields = list::<Field>(input)?,
            "err" => self.err = Some(option.span()),
            "returns" => self.returns = Some(returns(&assigned_word(input)?)?),
            "crate" => {
                input.parse::<Token![=]>()?;
                self.krate = Some(input.call(Path::parse_mod_style)?);
            }
            _ => {
                return Err(Error::new(
                    option.span(),
                    format!("unknown option `{option}`; there are {KNOWN}"),
                ));
            }
        }
        Ok(())
    }

    fn capture(&mut self, word: &Ident) -> Result<()> {
        let (inputs, outputs) = match word.to_string().as_str() {
            "inputs" => (true, false),
            "outputs" => (false, true),
            "both" => (true, true),
            "none" => (false, false),
            _ => return Err(unknown(word, "capture", "inputs, outputs, both, none")),
        };
        self.captures_inputs = inputs;
        self.captures_outputs = outputs.then(|| word.span());
        Ok(())
    }

    /// Returns whether the options may use arguments.
    pub(crate) fn see_arguments(&self) -> bool {
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

    /// Refuses options that contradict each other.
    fn check(&self) -> Result<()> {
        let names_one = self.tenant.is_some() || self.feature.is_some() || self.environment.is_some();
        for option in &self.seen {
            let wrong = match option.to_string().as_str() {
                "tenant" | "feature" | "environment" | "registry" if self.tracer.is_some() => {
                    "a tracer is named by `tracer`, or by `registry` with `tenant`, `feature` and `environment`, not by both"
                }
                "registry" if !names_one => "a registry is nothing without `tenant`, `feature` or `environment`",
                "skip" | "redact" if !self.captures_inputs => {
                    "arguments are not captured unless asked for: add `capture = inputs` or `capture = both`, or leave this out"
                }
                "skip" | "redact" if self.skip_all => "`skip_all` leaves no argument to say this of",
                _ => continue,
            };
            return Err(Error::new(option.span(), wrong));
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

fn assigned<T: Parse>(input: ParseStream<'_>) -> Result<T> {
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
        _ => return Err(unknown(word, "event_type", "model, tool, chain")),
    };
    Ok(Ident::new(variant, Span::mixed_site()))
}

fn returns(word: &Ident) -> Result<(Kind, Span)> {
    let kind = match word.to_string().as_str() {
        "value" => Kind::Value,
        "future" => Kind::Future,
        "stream" => Kind::Stream,
        "iterator" => Kind::Iterator,
        _ => return Err(unknown(word, "returns", "value, future, stream, iterator")),
    };
    Ok((kind, word.span()))
}

fn unknown(word: &Ident, option: &str, known: &str) -> Error {
    Error::new(
        word.span(),
        format!("`{option}` cannot be `{word}`; it is one of {known}"),
    )
}
