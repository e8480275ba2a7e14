//! Additions to the `OpenAPI` contract that the annotations of the handlers do not contain.

use utoipa::openapi::{
    Content, OpenApi as Document, Ref, RefOr, Schema,
    path::PathItem,
    schema::{AdditionalProperties, Object, ObjectBuilder, Type},
};

use super::forms::FORMS;

/// Gives forms their own schemas. Forms come from AgentOS clients: every value is a string, an empty one counts as
/// absent, and unknown fields are ignored.
pub fn describe_forms(mut document: Document) -> Document {
    let names: Vec<String> = document.paths.paths.values_mut().flat_map(posted_forms).filter_map(name_form).collect();
    let Some(components) = document.components.as_mut() else { return document };
    for name in names {
        if let Some(RefOr::T(Schema::Object(body))) = components.schemas.get(&name) {
            let form = as_form(body.clone());
            components.schemas.insert(form_of(&name), RefOr::T(Schema::Object(form)));
        }
    }
    document
}

fn posted_forms(item: &mut PathItem) -> Vec<&mut Content> {
    let body = item.post.as_mut().and_then(|operation| operation.request_body.as_mut()).and_then(here);
    let contents = body.into_iter().flat_map(|body| body.content.iter_mut());
    let forms = contents.filter(|(media_type, _)| FORMS.contains(&media_type.as_str()));
    forms.filter_map(|(_, content)| here(content)).collect()
}

/// The value, unless it is a `$ref`.
fn here<T>(value: &mut RefOr<T>) -> Option<&mut T> {
    match value {
        RefOr::T(value) => Some(value),
        RefOr::Ref(_) => None,
    }
}

/// Replaces the reference to the JSON body's schema by one to the form's schema. Returns the name of the JSON body's
/// schema.
fn name_form(content: &mut Content) -> Option<String> {
    let Some(RefOr::Ref(reference)) = &mut content.schema else { return None };
    let name = reference.ref_location.rsplit('/').next()?.to_owned();
    content.schema = Some(RefOr::Ref(Ref::from_schema_name(form_of(&name))));
    Some(name)
}

fn form_of(name: &str) -> String {
    format!("{name}Form")
}

fn as_form(mut body: Object) -> Object {
    for property in body.properties.values_mut() {
        let description = match property {
            RefOr::T(Schema::Object(object)) => object.description.clone(),
            _ => None,
        };
        let text = ObjectBuilder::new().schema_type(Type::String).description(description);
        *property = RefOr::T(Schema::Object(text.build()));
    }
    body.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(true)));
    body.example = None;
    body.examples.clear();
    body
}
