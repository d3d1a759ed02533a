{{- /* A binding: (dict "root" $ "kind" "Role" "role" r "account" a), optionally with "namespace" and "name". */}}
{{- define "cilium.binding" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .kind }}Binding
metadata:
  name: {{ .name | default .role }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "cilium.partOf" .root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ .kind }}
  name: {{ .role }}
subjects:
  - kind: ServiceAccount
    name: {{ .account }}
    namespace: {{ include "cilium.namespace" .root }}
{{- end }}

{{- /* A Role for the Secrets of a namespace and its binding: as above, with "verbs". */}}
{{- define "cilium.secretsRole" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ .role }}
  namespace: {{ .namespace }}
  labels:
    {{- include "cilium.partOf" .root | nindent 4 }}
rules:
  - {apiGroups: [""], resources: [secrets], verbs: {{ toJson .verbs }}}
---
{{ include "cilium.binding" (merge (dict "kind" "Role") .) }}
{{- end }}

{{- define "cilium.serviceAccount" -}}
{{- $account := index .root.Values.serviceAccounts .of -}}
{{- if $account.create -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ $account.name }}
  namespace: {{ include "cilium.namespace" .root }}
  {{- with .root.Values.commonLabels }}
  labels: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $account.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{- /* The permissions that the agent and preflight have in common. */}}
{{- define "cilium.agentRules" -}}
- {apiGroups: [networking.k8s.io], resources: [networkpolicies], verbs: [get, list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [get, list, watch]}
- {apiGroups: [""], resources: [namespaces, services, pods, nodes], verbs: [get, list, watch]}
{{- if not (include "cilium.since" (list . 20)) }}
- {apiGroups: [""], resources: [endpoints], verbs: [get, list, watch]}
{{- end }}
- {apiGroups: [apiextensions.k8s.io], resources: [customresourcedefinitions], verbs: [get, list, watch]}
- apiGroups: [cilium.io]
  verbs: [list, watch]
  resources:
    - ciliumbgpadvertisements
    - ciliumbgpnodeconfigs
    - ciliumbgppeerconfigs
    - ciliumcidrgroups
    - ciliumclusterwideenvoyconfigs
    - ciliumclusterwidenetworkpolicies
    - ciliumegressgatewaypolicies
    - ciliumendpoints
    - ciliumendpointslices
    - ciliumenvoyconfigs
    - ciliumidentities
    - ciliuml2announcementpolicies
    - ciliumloadbalancerippools
    - ciliumlocalredirectpolicies
    - ciliumnetworkpolicies
    - ciliumnodeconfigs
    - ciliumnodes
    - ciliumpodippools
    - {{ if include "cilium.since" (list . 20) }}ciliumdatapathplugins{{ else }}ciliumbgppeeringpolicies{{ end }}
- {apiGroups: [cilium.io], resources: [ciliumidentities], verbs: [create, update]}
- {apiGroups: [cilium.io], resources: [ciliumendpoints], verbs: [create, get, patch, delete]}
- {apiGroups: [cilium.io], resources: [ciliumnodes], verbs: [create, get, update]}
- {apiGroups: [cilium.io], resources: [ciliumnodes/status], verbs: [get, update]}
- apiGroups: [cilium.io]
  resources: [ciliumendpoints/status, ciliuml2announcementpolicies/status, ciliumbgpnodeconfigs/status]
  verbs: [patch]
{{- end }}
