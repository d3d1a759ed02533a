{{- /* The security context of one container: (list $ "ciliumAgent"). */}}
{{- define "cilium.agent.capabilities" -}}
{{- $context := (index . 0).Values.securityContext -}}
{{- if $context.privileged -}}
privileged: true
{{- else -}}
seLinuxOptions: {{- toYaml $context.seLinuxOptions | nindent 2 }}
capabilities:
  add: {{- toYaml (index $context.capabilities (index . 1)) | nindent 4 }}
  drop: [ALL]
{{- end }}
{{- end }}

{{- define "cilium.agent.probes" -}}
startupProbe:
  httpGet: {{- include "cilium.agent.healthz" . | nindent 4 }}
  failureThreshold: {{ .Values.startupProbe.failureThreshold }}
  periodSeconds: {{ .Values.startupProbe.periodSeconds }}
  successThreshold: 1
  initialDelaySeconds: 5
{{- /* Agents before 1.8 had no health endpoint of their own. */}}
{{- $endpoint := include "cilium.compatible" (list . "1.8") }}
livenessProbe:
  {{- if $endpoint }}
  httpGet:
    {{- include "cilium.agent.healthz" . | nindent 4 }}
      - {name: require-k8s-connectivity, value: {{ .Values.livenessProbe.requireK8sConnectivity | quote }}}
  {{- else }}
  exec:
    command: [cilium, status, --brief]
  {{- end }}
  failureThreshold: {{ .Values.livenessProbe.failureThreshold }}
  periodSeconds: {{ .Values.livenessProbe.periodSeconds }}
  successThreshold: 1
  timeoutSeconds: 5
readinessProbe:
  {{- if $endpoint }}
  httpGet: {{- include "cilium.agent.healthz" . | nindent 4 }}
  {{- else }}
  exec:
    command: [cilium, status, --brief]
  {{- end }}
  failureThreshold: {{ .Values.readinessProbe.failureThreshold }}
  periodSeconds: {{ .Values.readinessProbe.periodSeconds }}
  successThreshold: 1
  timeoutSeconds: 5
{{- end }}

{{- define "cilium.agent.healthz" -}}
host: 127.0.0.1
path: /healthz
port: {{ if include "cilium.since" (list . 19) }}health{{ else }}{{ .Values.healthPort }}{{ end }}
scheme: HTTP
httpHeaders:
  - {name: brief, value: "true"}
{{- end }}

{{- define "cilium.agent.initContainer" -}}
image: {{ include "cilium.image" (list .Values.image) | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
terminationMessagePolicy: FallbackToLogsOnError
{{- with .Values.initResources }}
resources: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* Names, order and mounts are those of Cilium; the commands of the containers are omitted. */}}
{{- define "cilium.agent.initContainers" -}}
{{- $common := include "cilium.agent.initContainer" . }}
- name: config
  {{- $common | nindent 2 }}
  command: [cilium-dbg, build-config]
  env:
    {{- include "cilium.identityEnv" . | nindent 4 }}
    {{- include "cilium.apiServerEnv" . | nindent 4 }}
    {{- with .Values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- if include "cilium.since" (list . 19) }}
  securityContext:
    capabilities: {add: [NET_ADMIN], drop: [ALL]}
  {{- end }}
  volumeMounts:
    - {name: tmp, mountPath: /tmp}
- name: mount-cgroup
  {{- $common | nindent 2 }}
  command: [cilium-mount]
  env:
    - {name: CGROUP_ROOT, value: {{ .Values.cgroup.hostRoot }}}
    - {name: BIN_PATH, value: {{ .Values.cni.binPath }}}
  securityContext: {{- include "cilium.agent.capabilities" (list . "mountCgroup") | nindent 4 }}
  volumeMounts: &hostBinaries
    - {name: hostproc, mountPath: /hostproc}
    - {name: cni-path, mountPath: /hostbin}
- name: apply-sysctl-overwrites
  {{- $common | nindent 2 }}
  command: [cilium-sysctlfix]
  env:
    - {name: BIN_PATH, value: {{ .Values.cni.binPath }}}
  securityContext: {{- include "cilium.agent.capabilities" (list . "applySysctlOverwrites") | nindent 4 }}
  volumeMounts: *hostBinaries
- name: mount-bpf-fs
  {{- $common | nindent 2 }}
  command: [mount]
  args: [-t, bpf, bpf, {{ .Values.bpf.root }}]
  securityContext: {privileged: true}
  volumeMounts:
    - {name: bpf-maps, mountPath: {{ .Values.bpf.root }}, mountPropagation: Bidirectional}
- name: clean-cilium-state
  {{- $common | nindent 2 }}
  command: [/init-container.sh]
  env:
    {{- range $name, $key := dict
      "CILIUM_ALL_STATE" "clean-cilium-state"
      "CILIUM_BPF_STATE" "clean-cilium-bpf-state"
      "WRITE_CNI_CONF_WHEN_READY" "write-cni-conf-when-ready" }}
    - name: {{ $name }}
      valueFrom:
        configMapKeyRef: {name: cilium-config, key: {{ $key }}, optional: true}
    {{- end }}
    {{- include "cilium.apiServerEnv" . | nindent 4 }}
    {{- with .Values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  securityContext: {{- include "cilium.agent.capabilities" (list . "cleanCiliumState") | nindent 4 }}
  volumeMounts:
    - {name: bpf-maps, mountPath: {{ .Values.bpf.root }}}
    - {name: cilium-cgroup, mountPath: {{ .Values.cgroup.hostRoot }}, mountPropagation: HostToContainer}
    - {name: cilium-run, mountPath: {{ .Values.daemon.runPath }}}
{{- if .Values.cni.install }}
- name: install-cni-binaries
  image: {{ include "cilium.image" (list .Values.image) | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  terminationMessagePolicy: FallbackToLogsOnError
  command: [/install-plugin.sh]
  {{- with .Values.cni.resources }}
  resources: {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    seLinuxOptions: {{- toYaml .Values.securityContext.seLinuxOptions | nindent 6 }}
    capabilities: {drop: [ALL]}
  volumeMounts:
    - {name: cni-path, mountPath: /host/opt/cni/bin}
{{- end }}
{{- end }}
