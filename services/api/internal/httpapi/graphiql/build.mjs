// Builds dist/ from src/ and the pinned packages: npm ci && npm run build.
// The result is committed, so that building the service needs no Node.
import { build } from 'esbuild';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const common = {
  bundle: true,
  minify: true,
  write: false,
  metafile: true,
  outdir: 'dist',
  target: 'es2022',
  legalComments: 'none', // LICENSES.txt has the whole texts
  define: { 'process.env.NODE_ENV': '"production"' },
};
const page = await build({
  ...common,
  entryPoints: { app: 'src/app.jsx' },
  format: 'esm',
  jsx: 'automatic',
  loader: { '.ttf': 'file', '.woff2': 'file' },
  assetNames: '[name]',
});
const workers = await build({
  ...common,
  entryPoints: {
    'editor.worker': 'node_modules/monaco-editor/esm/vs/editor/editor.worker.js',
    'json.worker': 'node_modules/monaco-editor/esm/vs/language/json/json.worker.js',
    'graphql.worker': 'node_modules/monaco-graphql/esm/graphql.worker.js',
  },
  format: 'iife',
});

rmSync('dist', { recursive: true, force: true });
mkdirSync('dist');
for (const file of [...page.outputFiles, ...workers.outputFiles]) {
  const name = file.path.split('/').pop();
  writeFileSync(`dist/${name}.gz`, gzipSync(file.contents, { level: 9 }));
}

const packages = new Set();
for (const { metafile } of [page, workers]) {
  for (const input of Object.keys(metafile.inputs)) {
    const found = /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
    if (found) packages.add(found[0]);
  }
}
const notices = [...packages].sort().map((folder) => {
  const { name, version, license } = JSON.parse(readFileSync(`${folder}package.json`, 'utf8'));
  const texts = readdirSync(folder)
    .filter((f) => /^(licen[cs]e|thirdpartynotices)/i.test(f))
    .map((f) => readFileSync(folder + f, 'utf8').replaceAll('\r\n', '\n').trim());
  return `${[`${name} ${version} (${license})`, ...texts].join('\n\n')}\n`;
});
writeFileSync('LICENSES.txt', notices.join(`\n${'-'.repeat(80)}\n\n`));
