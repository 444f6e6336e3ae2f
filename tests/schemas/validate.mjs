// Holds the JSON Schemas to the corpus that the C validators are held to (tests/unit/test_corpus.c), and checks the schemas and the
// AsyncAPI document themselves. Prints what disagrees, then "N passed, N failed".
// usage: node validate.mjs ROOT-OF-THE-SOURCES

import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Parser, fromFile } from '@asyncapi/parser';
import { Ajv2020 } from 'ajv/dist/2020.js';

const root = process.argv[2] ?? '.';
let passed = 0;
let failed = 0;

function report(subject, fault) {
  if (!fault) {
    passed++;
    return;
  }
  failed++;
  console.log(`${subject}: ${fault}`);
}

const readText = (...path) => readFileSync(join(root, ...path), 'utf8');

function compileSchema(name) {
  const file = `schemas/${name}.schema.json`;
  const schema = JSON.parse(readText(file));
  const ajv = new Ajv2020({ strict: true, allErrors: true });
  const validate = ajv.compile(schema); // throws on what strict mode refuses
  report(file, ajv.validateSchema(schema) ? '' : ajv.errorsText());
  schema.examples.forEach((example, i) => {
    report(`${file} example ${i}`, validate(example) ? '' : ajv.errorsText(validate.errors));
  });
  return validate;
}

// "/contact/phoneNumber" and a missing "x" to "$.contact.phoneNumber.x": the C validators' notation.
function pathOf(error) {
  const steps = error.instancePath.split('/').slice(1);
  if (error.params.missingProperty) steps.push(error.params.missingProperty);
  return '$' + steps.map((step) => (/^\d+$/.test(step) ? `[${step}]` : `.${step}`)).join('');
}

function checkFile(validate, kind, { file, verdict, path }) {
  const isValid = validate(JSON.parse(readText('tests/corpus', kind, file)));
  if (isValid !== (verdict === 'valid')) {
    return `the manifest says ${verdict}, the schema says ${isValid ? 'valid' : 'invalid'}`;
  }
  const paths = isValid ? [] : validate.errors.map(pathOf);
  return isValid || paths.some((p) => p.startsWith(path)) ? '' : `nothing fails at ${path}, but at ${paths.join(', ')}`;
}

function readManifest(kind) {
  const [, ...lines] = readText('tests/corpus', kind, 'manifest.tsv').trimEnd().split('\n');
  return lines.map((line) => {
    const [file, verdict, path] = line.split('\t');
    return { file, verdict, path };
  });
}

function checkCorpus(kind, schemaName) {
  const validate = compileSchema(schemaName);
  const entries = readManifest(kind);
  for (const entry of entries) report(`tests/corpus/${kind}/${entry.file}`, checkFile(validate, kind, entry));
  const listed = new Set(entries.map((entry) => entry.file));
  for (const folder of ['valid', 'invalid']) {
    for (const name of readdirSync(join(root, 'tests/corpus', kind, folder))) {
      if (!listed.has(`${folder}/${name}`)) report(`tests/corpus/${kind}/${folder}/${name}`, 'not in the manifest');
    }
  }
}

// The plain webhooks: what the parser refuses (tests/corpus/webhook/expected.txt) and nothing else fits no schema.
function checkWebhooks() {
  const validate = compileSchema('webhook');
  const entries = readText('tests/corpus/webhook/expected.txt').split(/\n(?=\S)/);
  for (const entry of entries) {
    const [file, verdict] = entry.split('\n');
    if (!file.startsWith('generic/') || file.endsWith('/not-json.json')) continue;
    const isValid = validate(JSON.parse(readText('tests/corpus/webhook', file)));
    const isRefused = verdict.trim().startsWith('refused');
    report(`tests/corpus/webhook/${file}`, isValid === isRefused ? `the schema says ${isValid ? 'valid' : 'invalid'}` : '');
  }
}

async function checkAsyncApi() {
  const file = 'schemas/asyncapi.yaml';
  const { document, diagnostics } = await fromFile(new Parser(), join(root, file)).parse();
  const errors = diagnostics.filter((d) => d.severity === 0);
  for (const d of errors) report(file, `${d.path.join('.')}: ${d.message}`);
  if (errors.length > 0) return;
  report(file, document ? '' : 'not parsed');
  for (const [id, schema] of [['request', 'ag_queue'], ['reply', 'wb_queue']]) {
    const title = document?.components().messages().get(id)?.payload()?.title();
    report(`${file} ${id}`, title?.startsWith(`${schema}:`) ? '' : `the payload is not ${schema}.schema.json`);
  }
}

checkCorpus('reply', 'wb_queue');
checkCorpus('request', 'ag_queue');
checkWebhooks();
await checkAsyncApi();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
