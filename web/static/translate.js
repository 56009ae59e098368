// Translates the sentences of the scripts. The page contains their translations, unless it is in English.

const element = document.getElementById("translations");
/** @type {Record<string, string[]>} the forms of each sentence: one, or those of a plural, in gettext's order */
const sentences = element ? JSON.parse(element.textContent) : {};
const language = document.documentElement.lang;
const rules = new Intl.PluralRules(language);
/** The categories of plurals in the order in which gettext lists their forms. */
const CATEGORIES = ["zero", "one", "two", "few", "many", "other"];
const categories = CATEGORIES.filter((category) => rules.resolvedOptions().pluralCategories.includes(category));

/**
 * @param {string} text in English, with placeholders such as `{name}`
 * @param {Record<string, string | number>} values of the placeholders
 */
export function t(text, values = {}) {
  return fill(sentences[text]?.[0] ?? text, values);
}

/**
 * @param {string} singular
 * @param {string} plural
 * @param {number} count decides the form, and is the value of `{count}`
 * @param {Record<string, string | number>} values of the other placeholders
 */
export function tn(singular, plural, count, values = {}) {
  const forms = sentences[singular] ?? [singular, plural];
  const index = sentences[singular] ? categories.indexOf(rules.select(count)) : Number(count !== 1);
  return fill(forms[Math.min(index, forms.length - 1)], { count, ...values });
}

function fill(text, values) {
  return text.replaceAll(/\{([A-Za-z_]\w*)\}/g, (placeholder, name) => String(values[name] ?? placeholder));
}
