//! Auth: what clients ask to learn that it is off. The rest is not built yet.

use super::status::{ApiError, not_built};
use crate::member::Member;
use std::sync::Arc;
use sternpost_proto::etcdserverpb::{self as pb, auth_server::Auth};
use tonic::{Request, Response, Status};

/// The auth revision of a store on which nothing was ever set.
const FIRST_AUTH_REVISION: u64 = 1;

/// The service.
pub struct AuthService(pub Arc<Member>);

/// Methods that are not built yet.
macro_rules! not_built {
    ($($method:ident($request:ident) -> $response:ident = $name:literal;)+) => {
        #[tonic::async_trait]
        impl Auth for AuthService {
            async fn auth_status(
                &self,
                _: Request<pb::AuthStatusRequest>,
            ) -> Result<Response<pb::AuthStatusResponse>, Status> {
                let header = Some(self.0.current_header());
                Ok(Response::new(pb::AuthStatusResponse { header, enabled: false, auth_revision: FIRST_AUTH_REVISION }))
            }

            /// Clients take this answer as "go on without a token".
            async fn authenticate(
                &self,
                _: Request<pb::AuthenticateRequest>,
            ) -> Result<Response<pb::AuthenticateResponse>, Status> {
                Err(ApiError::AuthNotEnabled.into())
            }

            $(async fn $method(&self, _: Request<pb::$request>) -> Result<Response<pb::$response>, Status> {
                Err(not_built(concat!("Auth.", $name)))
            })+
        }
    };
}

not_built! {
    auth_enable(AuthEnableRequest) -> AuthEnableResponse = "AuthEnable";
    auth_disable(AuthDisableRequest) -> AuthDisableResponse = "AuthDisable";
    user_add(AuthUserAddRequest) -> AuthUserAddResponse = "UserAdd";
    user_get(AuthUserGetRequest) -> AuthUserGetResponse = "UserGet";
    user_list(AuthUserListRequest) -> AuthUserListResponse = "UserList";
    user_delete(AuthUserDeleteRequest) -> AuthUserDeleteResponse = "UserDelete";
    user_change_password(AuthUserChangePasswordRequest) -> AuthUserChangePasswordResponse = "UserChangePassword";
    user_grant_role(AuthUserGrantRoleRequest) -> AuthUserGrantRoleResponse = "UserGrantRole";
    user_revoke_role(AuthUserRevokeRoleRequest) -> AuthUserRevokeRoleResponse = "UserRevokeRole";
    role_add(AuthRoleAddRequest) -> AuthRoleAddResponse = "RoleAdd";
    role_get(AuthRoleGetRequest) -> AuthRoleGetResponse = "RoleGet";
    role_list(AuthRoleListRequest) -> AuthRoleListResponse = "RoleList";
    role_delete(AuthRoleDeleteRequest) -> AuthRoleDeleteResponse = "RoleDelete";
    role_grant_permission(AuthRoleGrantPermissionRequest) -> AuthRoleGrantPermissionResponse = "RoleGrantPermission";
    role_revoke_permission(AuthRoleRevokePermissionRequest) -> AuthRoleRevokePermissionResponse = "RoleRevokePermission";
}
