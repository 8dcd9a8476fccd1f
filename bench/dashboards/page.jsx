// Draws one dashboard from its committed JSON with Grafana's own components and a Prometheus that can be reached.
//
// What @grafana/ui does not bring is made here: states over time (bands), the marks of annotations, the panel's frame.
// The result for each panel stands in window.drawn once all are drawn.
import React from 'react';
import { createRoot } from 'react-dom/client';
import {
  applyFieldOverrides, createTheme, dateTime, FieldConfigOptionsRegistry, FieldType, getFieldDisplayName,
  getFieldDisplayValues, getValueFormats, standardFieldConfigEditorRegistry, standardTransformers,
  standardTransformersRegistry, toDataFrame, transformDataFrame,
} from '@grafana/data';
import { BigValue, GlobalStyles, PanelContextProvider, Table, ThemeContext, TimeSeries } from '@grafana/ui';
import { initPluginTranslations } from '@grafana/i18n';
import { firstValueFrom } from 'rxjs';

const { dashboard, prometheus, variables, from, to, width } = window.input;
const step = Math.max(1, Math.ceil((to - from) / 400));
const theme = createTheme({ colors: { mode: 'dark' } });
const CELL = 30, GAP = 8;

const item = (id, path, isCustom) => ({
  id, path, name: id, isCustom, process: value => value, shouldApply: () => true, getItemsCount: () => 0,
});
const STANDARD = ['unit', 'decimals', 'min', 'max', 'color', 'thresholds', 'mappings', 'links', 'noValue', 'displayName'];
// What is not named here is not taken over from the JSON.
const CUSTOM = ['axisSoftMin', 'barMaxWidth', 'cellOptions', 'drawStyle', 'fillOpacity', 'lineStyle', 'lineWidth',
  'pointSize', 'showPoints', 'spanNulls', 'stacking', 'width'];
standardFieldConfigEditorRegistry.setInit(() => STANDARD.map(id => item(id, id, false)));
const registry = new FieldConfigOptionsRegistry(() => [
  ...STANDARD.map(id => item(id, id, false)), ...CUSTOM.map(id => item(`custom.${id}`, id, true)),
]);
// By id: some stand there under two names.
const transformers = new Map(Object.values(standardTransformers).map(one => [one.id, one]));
standardTransformersRegistry.setInit(() => [...transformers.values()].map(
  transformation => ({ id: transformation.id, name: transformation.name, transformation })));

const range = { from: dateTime(from * 1000), to: dateTime(to * 1000), raw: { from: 'now-1h', to: 'now' } };
const filled = text => Object.entries(variables).reduce((done, [name, value]) => done.replaceAll(name, value), text);

async function ask(path, parameters) {
  const answer = await fetch(`${prometheus}/api/v1/${path}?${new URLSearchParams(parameters)}`);
  const body = await answer.json();
  if (body.status !== 'success') { throw new Error(body.error); }
  return body.data.result;
}

const asked = (query, instant) => instant
  ? ask('query', { query: filled(query), time: to })
  : ask('query_range', { query: filled(query), start: from, end: to, step });

const number = text => text === 'NaN' ? null : text === '+Inf' ? Infinity : text === '-Inf' ? -Infinity : Number(text);

const legend = (format, labels) => format
  ? format.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, name) => labels[name] ?? '') : JSON.stringify(labels);

function seriesFrames(target, result) {
  return result.map(({ metric, value, values }) => {
    const points = values ?? [value];
    const name = legend(target.legendFormat, metric);
    return toDataFrame({
      refId: target.refId, name,
      fields: [
        { name: 'Time', type: FieldType.time, values: points.map(([at]) => at * 1000), config: { interval: step * 1000 } },
        { name: 'Value', type: FieldType.number, labels: metric, values: points.map(([, text]) => number(text)),
          config: { displayNameFromDS: name } },
      ],
    });
  });
}

function tableFrame(target, result, several) {
  if (!result.length) { return []; }
  const labels = [...new Set(result.flatMap(({ metric }) => Object.keys(metric)))].sort();
  return [toDataFrame({
    refId: target.refId,
    fields: [
      { name: 'Time', type: FieldType.time, values: result.map(({ value }) => value[0] * 1000) },
      ...labels.map(name => ({ name, type: FieldType.string, values: result.map(({ metric }) => metric[name] ?? '') })),
      { name: several ? `Value #${target.refId}` : 'Value', type: FieldType.number,
        values: result.map(({ value }) => number(value[1])) },
    ],
  })];
}

async function framesOf(panel) {
  const several = panel.targets.length > 1;
  const results = await Promise.all(panel.targets.map(async target => {
    const result = await asked(target.expr, target.instant);
    return panel.type === 'table' ? tableFrame(target, result, several) : seriesFrames(target, result);
  }));
  let frames = results.flat();
  // A level is drawn whether or not there is anything to compare with it.
  const levels = new Set(panel.fieldConfig.overrides.filter(override => override.properties.some(
    ({ id }) => id === 'custom.lineStyle')).map(override => override.matcher.options));
  const tells = frame => !levels.has(frame.refId) && frame.fields.some(
    field => field.type === FieldType.number && field.values.some(value => value !== null));
  const queries = results.filter(found => found.some(tells)).length;
  if (panel.transformations?.length && frames.length) {
    frames = await firstValueFrom(transformDataFrame(panel.transformations, frames));
  }
  frames = applyFieldOverrides({
    data: frames, theme, timeZone: 'utc', fieldConfig: panel.fieldConfig, fieldConfigRegistry: registry,
    replaceVariables: text => filled(text),
  });
  return { frames, queries };
}

const Frame = ({ panel, children }) => {
  const { x, y, w, h } = panel.gridPos;
  const column = (width - 2 * GAP) / 24;
  const place = { position: 'absolute', left: GAP + x * column, top: 48 + y * (CELL + GAP), width: w * column - GAP,
                  height: h * (CELL + GAP) - GAP };
  if (panel.type === 'row') {
    return <div style={{ ...place, fontSize: 16, fontWeight: 500, display: 'flex', alignItems: 'center' }}>
      ⌄&nbsp; {panel.title}</div>;
  }
  return <div style={{ ...place, background: theme.colors.background.primary, borderRadius: 2,
                       border: `1px solid ${theme.colors.border.weak}` }}>
    <div style={{ padding: '4px 8px', height: 30, fontSize: 14, fontWeight: 500, whiteSpace: 'nowrap',
                  overflow: 'hidden', textOverflow: 'ellipsis' }}>{panel.title}</div>
    <div style={{ padding: '0 8px 6px' }}>{children(place.width - 18, place.height - 40)}</div>
  </div>;
};

const Empty = ({ panel, width, height }) => <div style={{ width, height, display: 'flex', alignItems: 'center',
  justifyContent: 'center', color: theme.colors.text.secondary }}>{panel.fieldConfig.defaults.noValue ?? 'No data'}</div>;

const marked = new WeakSet();
function marks(config, annotations) {
  if (marked.has(config)) { return null; }
  marked.add(config);
  config.addHook('draw', u => {
    for (const { at, colour } of annotations) {
      const x = u.valToPos(at, 'x', true);
      if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) { continue; }
      u.ctx.save();
      u.ctx.strokeStyle = theme.visualization.getColorByName(colour);
      u.ctx.globalAlpha = 0.6;
      u.ctx.lineWidth = 1;
      u.ctx.setLineDash([4, 4]);
      u.ctx.beginPath();
      u.ctx.moveTo(x, u.bbox.top);
      u.ctx.lineTo(x, u.bbox.top + u.bbox.height);
      u.ctx.stroke();
      u.ctx.restore();
    }
  });
  return null;
}

const Graph = ({ panel, frames, width, height, annotations }) => {
  // A series without a single number would make an axis of its own.
  const drawn = frames.filter(frame => frame.fields.some(f => f.type === FieldType.number && f.values.some(v => v !== null)));
  return <PanelContextProvider value={{ eventsScope: 'global', eventBus: { getStream: () => ({ pipe: () => ({
    subscribe: () => ({ unsubscribe: () => {} }) }) }), publish: () => {} } }}>
    <TimeSeries frames={drawn} timeRange={range} timeZone="utc" width={width} height={height}
                legend={panel.options.legend} options={panel.options}>
      {config => marks(config, annotations)}
    </TimeSeries></PanelContextProvider>;
};

const Figure = ({ panel, frames, width, height }) => {
  const values = getFieldDisplayValues({
    fieldConfig: panel.fieldConfig, reduceOptions: panel.options.reduceOptions, data: frames, theme, timeZone: 'utc',
    replaceVariables: text => filled(text),
  });
  return <div style={{ display: 'flex' }}>{values.map((value, index) => <BigValue key={index} theme={theme}
    value={value.display} width={width / values.length} height={height} colorMode={panel.options.colorMode}
    graphMode="none" justifyMode="center" textMode={panel.options.textMode} count={values.length} />)}</div>;
};

const Bands = ({ panel, frames, width, height }) => {
  const names = Math.min(180, width / 3), axis = 18, key = 22;
  const tall = Math.min(40, (height - axis - key) / Math.max(1, frames.length));
  const seen = new Map();
  const bands = frames.map(frame => {
    const [time, value] = frame.fields;
    const pieces = [];
    for (let i = 0; i < frame.length; i++) {
      const shown = value.display(value.values[i]);
      seen.set(shown.text, shown.color);
      const last = pieces.at(-1);
      if (last && last.text === shown.text && time.values[i] - last.to <= step * 1500) { last.to = time.values[i]; }
      else { pieces.push({ text: shown.text, color: shown.color, from: time.values[i], to: time.values[i] }); }
    }
    return { name: getFieldDisplayName(value, frame, frames), pieces };
  });
  const x = at => (at / 1000 - from) / (to - from) * (width - names);
  return <div style={{ fontSize: 12 }}>{bands.map(({ name, pieces }, row) =>
    <div key={row} style={{ position: 'relative', height: tall }}>
      <div style={{ width: names - 8, lineHeight: `${tall}px`, overflow: 'hidden', whiteSpace: 'nowrap',
                    textOverflow: 'ellipsis', textAlign: 'right' }}>{name}</div>
      {pieces.map((piece, i) => <div key={i} style={{ position: 'absolute', top: tall * 0.1, height: tall * 0.8,
        left: names + x(piece.from), width: Math.max(1, x(piece.to) - x(piece.from) + x((from + step) * 1000)),
        background: piece.color, opacity: 0.85 }} />)}
    </div>)}
    <div style={{ position: 'relative', height: axis, color: theme.colors.text.secondary }}>{[0.05, 0.5, 0.92].map(part =>
      <span key={part} style={{ position: 'absolute', left: names + part * (width - names) - 24 }}>
        {new Date((from + part * (to - from)) * 1000).toISOString().slice(11, 19)}</span>)}</div>
    <div style={{ display: 'flex', gap: 12 }}>{[...seen].map(([text, color]) => <span key={text}>
      <span style={{ display: 'inline-block', width: 14, height: 4, background: color, marginRight: 5 }} />{text}</span>)}
    </div></div>;
};

const Rows = ({ panel, frames, width, height }) => <Table data={frames[0]} width={width} height={height}
  cellHeight="sm" timeRange={range} initialSortBy={panel.options.sortBy} replaceVariables={filled} />;

const KINDS = { timeseries: Graph, stat: Figure, 'state-timeline': Bands, table: Rows };

class Guard extends React.Component {
  state = {};
  static getDerivedStateFromError(error) { return { error }; }
  componentDidCatch(error) { this.props.outcome.error = String(error.stack ?? error).slice(0, 600); }
  render() { return this.state.error ? <div style={{ color: 'red' }}>{String(this.state.error)}</div> : this.props.children; }
}

function unitsOf(panel) {
  const overridden = panel.fieldConfig.overrides.flatMap(o => o.properties.filter(p => p.id === 'unit').map(p => p.value));
  return [panel.fieldConfig.defaults.unit, ...overridden];
}

async function main() {
  await initPluginTranslations('mcp-medic');
  const known = new Set(getValueFormats().flatMap(category => category.submenu.map(unit => unit.value)));
  const annotations = (await Promise.all(dashboard.annotations.list.map(async ({ expr, iconColor, useValueForTime }) =>
    (await asked(expr, false)).flatMap(({ values }) => {
      if (useValueForTime) { return [...new Set(values.map(([, v]) => Number(v)))].map(at => ({ at, colour: iconColor })); }
      // Only where it begins: Grafana shades what lasts.
      return values.filter(([at], i) => i === 0 || at - values[i - 1][0] > 2 * step)
        .map(([at]) => ({ at: at * 1000, colour: iconColor }));
    })))).flat();
  const outcomes = [];
  const panels = dashboard.panels.flatMap(panel => panel.type === 'row' ? [panel, ...panel.panels] : [panel]);
  const drawn = await Promise.all(panels.map(async panel => {
    if (panel.type === 'row') { return <Frame key={panel.id} panel={panel} />; }
    const outcome = { title: panel.title, type: panel.type, queries: 0, of: panel.targets.length, error: '',
                      unknown_units: unitsOf(panel).filter(unit => !known.has(unit)) };
    outcomes.push(outcome);
    let found = { frames: [], queries: 0 };
    try { found = await framesOf(panel); } catch (error) { outcome.error = String(error); }
    outcome.queries = found.queries;
    const Kind = found.queries ? KINDS[panel.type] : Empty;
    return <Frame key={panel.id} panel={panel}>{(width, height) => <Guard outcome={outcome}>
      <Kind panel={panel} frames={found.frames} width={width} height={height} annotations={annotations} /></Guard>}</Frame>;
  }));
  const bottom = Math.max(...dashboard.panels.map(({ gridPos }) => gridPos.y + gridPos.h));
  createRoot(document.getElementById('root')).render(<ThemeContext.Provider value={theme}><GlobalStyles />
    <div style={{ position: 'relative', width, height: 56 + bottom * (CELL + GAP), background: theme.colors.background.canvas,
                  color: theme.colors.text.primary, fontFamily: theme.typography.fontFamily, fontSize: 14 }}>
      <div style={{ padding: '12px 16px', fontSize: 18 }}>{dashboard.title}
        <span style={{ color: theme.colors.text.secondary, fontSize: 13, marginLeft: 16 }}>{dashboard.description}</span></div>
      {drawn}</div></ThemeContext.Provider>);
  await new Promise(done => setTimeout(done, 1500));
  window.drawn = { outcomes, height: 56 + bottom * (CELL + GAP) };
}

main().catch(error => { window.drawn = { failure: String(error.stack ?? error) }; });
