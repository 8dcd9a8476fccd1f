// node build.mjs SOURCE_FOLDER NODE_MODULES_PARENT OUTPUT: bundles page.jsx.
import { createRequire } from 'node:module';
import { join } from 'node:path';

const [source, modules, output] = process.argv.slice(2);
const { build } = createRequire(join(modules, 'package.json'))('esbuild');
// Their .mjs files import packages that are CommonJS, whose default a bundler takes otherwise than they expect.
const alias = Object.fromEntries(['data', 'i18n', 'schema', 'ui'].map(
  name => [`@grafana/${name}`, join(modules, 'node_modules', '@grafana', name, 'dist', 'cjs', 'index.cjs')]));
await build({
  alias,
  entryPoints: [join(source, 'page.jsx')], outfile: output, bundle: true, format: 'iife', platform: 'browser',
  jsx: 'automatic', logLevel: 'error', nodePaths: [join(modules, 'node_modules')], target: 'chrome120',
  define: { 'process.env.NODE_ENV': '"production"', global: 'window' },
  loader: { '.svg': 'text', '.png': 'dataurl', '.woff2': 'empty', '.ttf': 'empty' },
});
