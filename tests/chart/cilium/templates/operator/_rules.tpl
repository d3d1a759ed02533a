{{- define "cilium.operatorRules" -}}
{{- $since18 := include "cilium.since" (list . 18) }}
{{- $since19 := include "cilium.since" (list . 19) }}
{{- $since20 := include "cilium.since" (list . 20) }}
- {apiGroups: [""], resources: [pods, namespaces, services], verbs: [get, list, watch]}
- {apiGroups: [""], resources: [configmaps], resourceNames: [cilium-config], verbs: [patch]}
- {apiGroups: [""], resources: [nodes], verbs: [list, watch]}
- {apiGroups: [""], resources: [nodes, nodes/status], verbs: [patch]}
- {apiGroups: [""], resources: [services/status], verbs: [update, patch]}
- {apiGroups: [""], resources: [{{ if $since20 }}serviceaccounts{{ else }}endpoints{{ end }}], verbs: [get, list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [get, list, watch]}
{{- $ingress := and .Values.ingressController.enabled .Values.ingressController.secretsNamespace.sync }}
{{- $gateway := and .Values.gatewayAPI.enabled .Values.gatewayAPI.secretsNamespace.sync }}
{{- if or (include "cilium.secretSyncWanted" .) $ingress $gateway }}
- {apiGroups: [""], resources: [secrets], verbs: [get, list, watch]}
{{- end }}
- apiGroups: [cilium.io]
  resources: [ciliumnetworkpolicies, ciliumclusterwidenetworkpolicies]
  verbs: [create, update, deletecollection, patch, get, list, watch]
- apiGroups: [cilium.io]
  resources: [ciliumnetworkpolicies/status, ciliumclusterwidenetworkpolicies/status]
  verbs: [patch, update]
- {apiGroups: [cilium.io], resources: [ciliumendpoints, ciliumidentities], verbs: [delete, list, watch]}
- {apiGroups: [cilium.io], resources: [ciliumidentities], verbs: [update]}
- {apiGroups: [cilium.io], resources: [ciliumnodes], verbs: [create, update, get, list, watch, delete]}
- {apiGroups: [cilium.io], resources: [ciliumnodes/status], verbs: [update]}
- apiGroups: [cilium.io]
  verbs: [create, update, get, list, watch, delete, patch]
  resources:
    - ciliumbgpadvertisements
    - ciliumbgpnodeconfigs
    - ciliumbgppeerconfigs
    - ciliumendpointslices
    - ciliumenvoyconfigs
    {{- if $since20 }}
    - ciliumbgpclusterconfigs
    - ciliumbgpnodeconfigoverrides
    - ciliumcidrgroups
    {{- end }}
- {apiGroups: [cilium.io], resources: [ciliumbgpclusterconfigs/status, ciliumbgppeerconfigs/status], verbs: [update]}
- apiGroups: [cilium.io]
  verbs: [get, list, watch]
  resources:
    - ciliumbgpclusterconfigs
    - ciliumbgpnodeconfigoverrides
    - ciliumbgppeerconfigs
    - ciliumloadbalancerippools
    - ciliumpodippools
    - {{ if $since20 }}ciliumdatapathplugins{{ else }}ciliumbgppeeringpolicies{{ end }}
- {apiGroups: [cilium.io], resources: [ciliumpodippools], verbs: [create]}
- {apiGroups: [cilium.io], resources: [ciliumloadbalancerippools/status], verbs: [patch]}
{{- if $since19 }}
- {apiGroups: [cilium.io], resources: [ciliumendpointslices], verbs: [deletecollection]}
{{- end }}
- {apiGroups: [apiextensions.k8s.io], resources: [customresourcedefinitions], verbs: [create, get, list, watch]}
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  verbs: [update]
  resourceNames:
    - ciliumbgpadvertisements.cilium.io
    - ciliumbgpclusterconfigs.cilium.io
    - ciliumbgpnodeconfigoverrides.cilium.io
    - ciliumbgpnodeconfigs.cilium.io
    - ciliumbgppeerconfigs.cilium.io
    - ciliumcidrgroups.cilium.io
    - ciliumclusterwideenvoyconfigs.cilium.io
    - ciliumclusterwidenetworkpolicies.cilium.io
    - ciliumegressgatewaypolicies.cilium.io
    - ciliumendpoints.cilium.io
    - ciliumendpointslices.cilium.io
    - ciliumenvoyconfigs.cilium.io
    - ciliumidentities.cilium.io
    - ciliuml2announcementpolicies.cilium.io
    - ciliumloadbalancerippools.cilium.io
    - ciliumlocalredirectpolicies.cilium.io
    - ciliumnetworkpolicies.cilium.io
    - ciliumnodeconfigs.cilium.io
    - ciliumnodes.cilium.io
    - ciliumpodippools.cilium.io
    - {{ if $since18 }}ciliumgatewayclassconfigs.cilium.io{{ else }}ciliumexternalworkloads.cilium.io{{ end }}
    {{- if not $since19 }}
    - ciliumbgppeeringpolicies.cilium.io
    {{- end }}
    {{- if $since20 }}
    - ciliumdatapathplugins.cilium.io
    {{- end }}
{{- if $since20 }}
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions/status]
  verbs: [update]
  resourceNames:
    - ciliumbgpadvertisements.cilium.io
    - ciliumbgpclusterconfigs.cilium.io
    - ciliumbgpnodeconfigoverrides.cilium.io
    - ciliumbgpnodeconfigs.cilium.io
    - ciliumbgppeerconfigs.cilium.io
{{- end }}
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create, get, update]}
{{- if or .Values.ingressController.enabled .Values.gatewayAPI.enabled }}
- {apiGroups: [""], resources: [services], verbs: [create, update, delete, patch]}
{{- if not $since20 }}
- {apiGroups: [""], resources: [endpoints], verbs: [create, update, delete, patch]}
{{- end }}
{{- if $since19 }}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [create, update, delete, patch]}
{{- end }}
{{- end }}
{{- if .Values.ingressController.enabled }}
- {apiGroups: [networking.k8s.io], resources: [ingresses, ingressclasses], verbs: [get, list, watch]}
- {apiGroups: [networking.k8s.io], resources: [ingresses/status], verbs: [update]}
{{- if $since18 }}
- {apiGroups: [networking.k8s.io], resources: [ingresses/finalizers], verbs: [update]}
{{- end }}
{{- end }}
{{- if .Values.gatewayAPI.enabled }}
{{- $routes := list "gateways" "grpcroutes" "httproutes" "tlsroutes" }}
{{- if $since20 }}
{{- $routes = concat $routes (list "backendtlspolicies" "listenersets" "tcproutes" "udproutes") }}
{{- end }}
- apiGroups: [gateway.networking.k8s.io]
  resources: {{ toJson (concat $routes (list "gatewayclasses" "referencegrants" "referencepolicies")) }}
  verbs: [get, list, watch]
- apiGroups: [gateway.networking.k8s.io]
  verbs: [update, patch]
  resources:
    - gatewayclasses/status
    {{- range $routes }}
    - {{ . }}/status
    {{- end }}
{{- if $since18 }}
- {apiGroups: [gateway.networking.k8s.io], resources: [gatewayclasses], verbs: [patch]}
- {apiGroups: [cilium.io], resources: [ciliumgatewayclassconfigs], verbs: [get, list, watch]}
- {apiGroups: [cilium.io], resources: [ciliumgatewayclassconfigs/status], verbs: [update, patch]}
{{- end }}
{{- if $since20 }}
- {apiGroups: [""], resources: [configmaps], verbs: [get, list, watch]}
{{- end }}
- {apiGroups: [multicluster.x-k8s.io], resources: [serviceimports], verbs: [get, list, watch]}
{{- end }}
{{- end }}
