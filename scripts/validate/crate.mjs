// Validate unpacked RO-Crates: node crate.mjs DIR...
//
// Every crate is judged by the Validator of the package ro-crate and by the shapes of the RO-Crate validator of CRS4:
// what RO-Crate 1.1 and Process Run Crate demand, and what the latter recommends. Problems are printed, one on a line;
// then the exit status is 1. Nothing is fetched from a network.
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createRequire } from 'node:module'
import { Parser, Store } from 'n3'
import SHACLValidator from 'rdf-validate-shacl'

const here = dirname(fileURLToPath(import.meta.url))
const contexts = {
  'https://w3id.org/ro/crate/1.1/context': 'ro-crate-1.1-context.jsonld',
  'https://w3id.org/ro/terms/workflow-run/context': 'workflow-run-context.jsonld',
}

// The package ro-crate takes the global fetch when it is loaded, so this comes first.
globalThis.fetch = async (url) => {
  const file = contexts[url]
  if (!file) throw new Error(`${url} is not here, and nothing is fetched`)
  return { ok: true, json: async () => JSON.parse(readFileSync(join(here, 'contexts', file), 'utf8')) }
}
const { Validator } = createRequire(import.meta.url)('ro-crate')

/** All paths below a directory; those of directories end in a slash. */
function listFiles(dir, prefix = '') {
  return readdirSync(join(dir, prefix)).sort().flatMap((name) => {
    const path = prefix + name
    return statSync(join(dir, path)).isDirectory() ? [path + '/', ...listFiles(dir, path + '/')] : [path]
  })
}

/** What the package ro-crate finds. */
async function judgeByLibrary(dir, text) {
  const validator = new Validator()
  validator.parseJSON(text)
  await validator.crate?.resolveContext()
  if (!await validator.validate()) return validator.results.filter((r) => r.status !== 'success').map(describe)
  const ids = new Map(JSON.parse(text)['@graph'].map((e) => [decoded(e['@id']), e['@id']]))
  const files = {}
  for (const path of listFiles(dir)) {
    if (path !== 'ro-crate-metadata.json') files[ids.get(path) ?? path] = { exists: true, isDir: path.endsWith('/') }
  }
  validator.checkFiles(files)
  const inside = (r) => r.id !== 'validCrateDataEntityInCrateDir' || !files[r.entity].isDir
  return validator.results.filter((r) => r.status !== 'success' && inside(r)).map(describe)
}

const describe = (r) => `ro-crate: ${r.status}: ${r.message}${r.entity ? ` (${r.entity})` : ''}`

function decoded(id) {
  try {
    return decodeURIComponent(id)
  } catch {
    return id
  }
}

/** Data and shapes of crates as rdf-validate-shacl can take them. */
function expand(dirs) {
  const out = execFileSync('/usr/bin/python3', [join(here, 'expand.py'), ...dirs.map(metadataOf)], { encoding: 'utf8', maxBuffer: 1 << 30 })
  return out.trim().split('\n').filter(Boolean).map((line) => JSON.parse(line))
}

/** What the shapes find. */
async function judgeByShapes(expanded) {
  const [data, shapes] = [expanded.data, expanded.shapes].map((nt) => new Store(new Parser({ format: 'N-Triples' }).parse(nt)))
  const report = await new SHACLValidator(shapes).validate(data)
  const said = (r) => `${r.focusNode?.value} ${r.path?.value ?? ''}: ${r.message.map((m) => m.value).join('; ') || r.sourceShape?.value}`
  return [...expanded.violations, ...report.results.map(said)].map((s) => `shacl: ${s}`)
}

/** Why there is nothing to judge, or nothing. */
function unreadable(dir) {
  if (!existsSync(metadataOf(dir))) return 'no ro-crate-metadata.json'
  try {
    JSON.parse(readFileSync(metadataOf(dir), 'utf8'))
    return ''
  } catch (error) {
    return `ro-crate-metadata.json is not JSON: ${error.message}`
  }
}

const metadataOf = (dir) => join(dir, 'ro-crate-metadata.json')

const dirs = process.argv.slice(2)
const crates = dirs.filter((dir) => !unreadable(dir))
const problems = dirs.filter(unreadable).map((dir) => `${dir}: ${unreadable(dir)}`)
const expanded = expand(crates)
for (const [i, dir] of crates.entries()) {
  const found = [...await judgeByLibrary(dir, readFileSync(metadataOf(dir), 'utf8')), ...await judgeByShapes(expanded[i])]
  problems.push(...found.map((p) => `${dir}: ${p.replace(/\s+/g, ' ')}`))
}
for (const p of problems) console.log(p)
process.exit(problems.length || !dirs.length ? 1 : 0)
